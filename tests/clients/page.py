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
import time
import urllib.request

chromium, url, echo_port, profile = sys.argv[1:]


def evaluate(port, expression):
    """The value of an expression in the page, over a connection of its own: one that was made while
    the page was loading may wait for ever."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=2) as answer:
        pages = [page for page in json.load(answer) if page["url"] == url]
    path = re.fullmatch(r"ws://[^/]+(/.*)", pages[0]["webSocketDebuggerUrl"])[1]
    with socket.create_connection(("127.0.0.1", port), 2) as connection:
        stream = connection.makefile("rwb")
        key = base64.b64encode(os.urandom(16)).decode()
        stream.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode())
        stream.flush()
        while stream.readline() not in (b"\r\n", b""):
            pass
        params = {"expression": expression, "returnByValue": True}
        call = {"id": 1, "method": "Runtime.evaluate", "params": params}
        payload = json.dumps(call).encode()
        # A client masks what it sends; a mask of zeros changes nothing.
        stream.write(bytes([0x81, 0xFE]) + len(payload).to_bytes(2, "big") + bytes(4) + payload)
        stream.flush()
        _, size = stream.read(2)
        if size >= 126:
            size = int.from_bytes(stream.read(2 if size == 126 else 8), "big")
        return json.loads(stream.read(size))["result"]["result"]["value"]


def wait_for(port, count):
    """Waits until the page shows so many connections to the echo service."""
    while True:
        try:
            shown = evaluate(port, SHOWN)
            if shown[0] == str(count):
                return print(shown)
        except (OSError, LookupError, ValueError):
            # It is being loaded.
            pass
        time.sleep(0.1)


# Connections to the echo service, and what else the page shows.
SHOWN = """
[document.querySelector('[data-service="echo"] [data-counter="accepted"]'),
 ...['state', 'accepted', 'turns', 'memory'].map((id) => document.getElementById(id))
].map((place) => place.textContent.trim())
"""

signal.signal(signal.SIGALRM, lambda *_: sys.exit("the page does not show in 60 s what it should"))
signal.alarm(60)
browser = subprocess.Popen(
    [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
     f"--user-data-dir={profile}", url],
    stderr=subprocess.PIPE, text=True, start_new_session=True)
try:
    for line in browser.stderr:
        if found := re.search(r"DevTools listening on ws://[^/]+:(\d+)/", line):
            break
    else:
        sys.exit("chromium does not listen")
    # It goes on to say what it misses, which nobody is to wait for.
    subprocess.Popen(["cat"], stdin=browser.stderr, stdout=subprocess.DEVNULL)
    port = int(found[1])
    wait_for(port, 0)
    for count in (1, 2):
        with socket.create_connection(("127.0.0.1", int(echo_port)), 60) as echo:
            echo.sendall(b"ahoy")
            assert echo.recv(4) == b"ahoy"
            wait_for(port, count)
finally:
    os.killpg(browser.pid, signal.SIGKILL)
