#!/usr/bin/env python3
"""The requests of tests/http_conformance/cases.txt, sent to nginx and to us.

    tests/nginx/compare.py [HTTP_EXAMPLE]

Every difference in what is accepted and refused has to stand in differences.md beside this, with
its reason, and nothing else may. Needs nginx. Our server is the example `http --echo-any`; nginx
forwards to a server in here that answers 200 to everything.
"""

import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
EXAMPLE = os.path.join(
    os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release/examples/http"
)
# Statuses by which a server refuses a request because of what it looks like.
REFUSALS = {400, 408, 411, 413, 414, 417, 421, 431, 494, 501, 505}
# Seconds within which a server has said what it has to say.
PATIENCE = 4

CONF = """
daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
    upstream here {{ server 127.0.0.1:{upstream}; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ proxy_pass http://here; proxy_http_version 1.1; }}
    }}
}}
"""

MARKS = {"␊": b"\n", "␍": b"\r", "␀": b"\0", "␇": b"\x07", "␉": b"\t", "␛": b"\x1b", "␡": b"\x7f"}


def request_of(text):
    """The bytes that the text of a case stands for; the table says how."""
    out, at = b"", 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "\\":
            out += b"\r\n" if text[at] == "n" else b"\\"
            at += 1
        elif char in MARKS:
            out += MARKS[char]
        elif char == "ÿ":
            out += b"\xff"
        elif char == "{":
            end = text.index("}", at)
            unit, count = text[at:end].rsplit("*", 1)
            out += unit.replace("\\n", "\r\n").encode() * int(count)
            at = end + 1
        else:
            out += char.encode()
    return out


def cases():
    with open(os.path.join(ROOT, "tests/http_conformance/cases.txt"), encoding="utf-8") as file:
        blocks = file.read().split("\n\n")
    for block in map(str.strip, blocks):
        if block and not block.startswith("#"):
            lines = block.split("\n")
            yield lines[0].rsplit(" | ", 1)[0], request_of(lines[1][2:])


async def ask(port, request):
    """What a server makes of a request: `accepted`, `refused`, or `waits` for more of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received, is_closed = b"", False
    try:
        writer.write(request)
        while True:
            part = await asyncio.wait_for(reader.read(65536), PATIENCE if not received else 1)
            if not part:
                is_closed = True
                break
            received += part
    except (asyncio.TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    codes = [int(code) for code in re.findall(rb"HTTP/1\.1 (\d\d\d) ", received)]
    codes = [code for code in codes if code >= 200]
    refusals = [code for code in codes if code in REFUSALS]
    if refusals:
        return "refused", codes
    # nginx answers what looks like HTTP/0.9 without a head.
    if is_closed and not codes:
        return "refused", codes
    return ("accepted", codes) if codes else ("waits", codes)


async def ask_all(port, requests):
    room = asyncio.Semaphore(64)

    async def one(request):
        async with room:
            return await ask(port, request)

    return await asyncio.gather(*(one(request) for request in requests))


async def upstream(reader, writer):
    """Answers 200 to everything that nginx forwards."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            if re.search(rb"(?i)\r\ntransfer-encoding:", head):
                await reader.readuntil(b"0\r\n\r\n")
            elif length:
                await reader.readexactly(int(length[1]))
            body = b"" if head.startswith(b"HEAD") else b"OK"
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + body)
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
        writer.close()


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def until_open(port):
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        except ConnectionError:
            await asyncio.sleep(0.05)
    sys.exit("nginx does not listen")


def listed():
    """The rows of the table: the case, what we do, what nginx does."""
    rows = {}
    with open(os.path.join(HERE, "differences.md"), encoding="utf-8") as file:
        for line in file:
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if len(cells) == 4 and cells[1] in ("accepted", "refused", "waits"):
                rows[cells[0]] = (cells[1], cells[2])
    return rows


async def main():
    example = sys.argv[1] if len(sys.argv) > 1 else EXAMPLE
    table = list(cases())
    requests = [request for _, request in table]
    ours = subprocess.Popen(
        [example, "127.0.0.1:0", "--echo-any"], stdout=subprocess.PIPE, text=True
    )
    directory = tempfile.mkdtemp()
    os.chmod(directory, 0o755)
    nginx = None
    try:
        our_port = int(ours.stdout.readline().rsplit(":", 1)[1])
        server = await asyncio.start_server(upstream, "127.0.0.1", 0)
        port = free_port()
        conf = os.path.join(directory, "nginx.conf")
        with open(conf, "w", encoding="utf-8") as file:
            back = server.sockets[0].getsockname()[1]
            file.write(CONF.format(dir=directory, port=port, upstream=back))
        nginx = subprocess.Popen(["nginx", "-c", conf, "-e", os.path.join(directory, "error.log")])
        await until_open(port)
        our_answers = await ask_all(our_port, requests)
        their_answers = await ask_all(port, requests)
    finally:
        for process in (ours, nginx):
            if process:
                process.terminate()
                process.wait()
    found = {}
    for (name, _), our, their in zip(table, our_answers, their_answers):
        if our[0] != their[0]:
            found[name] = (our[0], their[0])
            print(f"{name}: {our[0]} {our[1]} here, {their[0]} {their[1]} by nginx")
    print(f"{len(table)} requests, {len(found)} are judged differently")
    known = listed()
    wrong = [name for name in found if known.get(name) != found[name]]
    stale = [name for name in known if name not in found]
    for name in wrong:
        print(f"NOT LISTED: | {name} | {found[name][0]} | {found[name][1]} | |")
    # Another version of nginx may be stricter.
    for name in stale:
        print(f"no difference any more: {name}")
    sys.exit(1 if wrong else 0)


asyncio.run(main())
