#!/usr/bin/env python3
"""The page of the example `serve` in a headless Chromium: its counters have to move.

page.py CHROMIUM PAGE-URL ECHO-PORT PROFILE-FOLDER

Connects to the echo service twice, and waits each time until the page shows one more connection
there. Speaks DevTools over a WebSocket (RFC 6455), as far as that takes. Fails after 60 seconds.
"""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

chromium, url, echo_port, profile = sys.argv[1:]


class DevTools:
    def __init__(self, address):
        host, port, path = re.fullmatch(r"ws://([^:/]+):(\d+)(/.*)", address).groups()
        self.stream = socket.create_connection((host, int(port)), 60).makefile("rwb")
        key = base64.b64encode(os.urandom(16)).decode()
        self.stream.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode())
        self.stream.flush()
        while self.stream.readline() not in (b"\r\n", b""):
            pass
        self.last_id = 0

    def evaluate(self, expression):
        """The value of a promise, in the page."""
        self.last_id += 1
        params = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        call = {"id": self.last_id, "method": "Runtime.evaluate", "params": params}
        payload = json.dumps(call).encode()
        # A client masks what it sends; a mask of zeros changes nothing.
        head = bytes([0x81, 0xFE]) + len(payload).to_bytes(2, "big") + bytes(4)
        self.stream.write(head + payload)
        self.stream.flush()
        while True:
            _, size = self.stream.read(2)
            if size >= 126:
                size = int.from_bytes(self.stream.read(2 if size == 126 else 8), "big")
            answer = json.loads(self.stream.read(size))
            if answer.get("id") == self.last_id:
                if "error" in answer:
                    # The page had only begun to load, and took what was asked with it.
                    return self.evaluate(expression)
                assert "exceptionDetails" not in answer["result"], answer
                return answer["result"]["result"].get("value")


# Resolves once the page shows so many connections to the echo service, to what else it shows.
SHOWN = """
new Promise((resolve) => {
  const look = () => {
    const place = document.querySelector('[data-service="echo"] [data-counter="accepted"]');
    if (place && place.textContent.trim() === '%d') {
      clearInterval(timer);
      resolve(['state', 'accepted', 'turns', 'memory'].map(
        (id) => document.getElementById(id).textContent.trim()));
    }
  };
  const timer = setInterval(look, 50);
})
"""

signal.signal(signal.SIGALRM, lambda *_: sys.exit("the page does not show in 60 s what it should"))
signal.alarm(60)
browser = subprocess.Popen(
    [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
     f"--user-data-dir={profile}", url],
    stderr=subprocess.PIPE, text=True, start_new_session=True)
try:
    for line in browser.stderr:
        if found := re.search(r"DevTools listening on ws://([^/]+)/", line):
            break
    else:
        sys.exit("chromium does not listen")
    # It goes on to say what it misses, which nobody is to wait for.
    subprocess.Popen(["cat"], stdin=browser.stderr, stdout=subprocess.DEVNULL)
    with urllib.request.urlopen(f"http://{found[1]}/json/list") as answer:
        pages = [page for page in json.load(answer) if page["type"] == "page"]
    page = DevTools(pages[0]["webSocketDebuggerUrl"])
    print(page.evaluate(SHOWN % 0))
    before = page.evaluate("document.documentElement.outerHTML")
    for count in (1, 2):
        with socket.create_connection(("127.0.0.1", int(echo_port)), 60) as echo:
            echo.sendall(b"ahoy")
            assert echo.recv(4) == b"ahoy"
            print(page.evaluate(SHOWN % count))
    assert page.evaluate("document.documentElement.outerHTML") != before, "nothing has moved"
finally:
    os.killpg(browser.pid, signal.SIGKILL)
