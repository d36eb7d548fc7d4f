#!/usr/bin/env python3
"""Hostile clients against the example `http`: what they cost the server, and what others notice.

    tests/abuse.py [HTTP_EXAMPLE]

Linux only: memory is what /proc says that the server's process has. Fails if a bound is exceeded.
"""

import atexit
import contextlib
import multiprocessing
import os
import random
import resource
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXAMPLE = os.path.join(
    os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release/examples/http"
)
SLOW_HEADERS = 2000
SLOW_READERS = 200
# What a connection may have queued (its high water) and the piece that went beyond it, for each
# slow reader, and what else there may be for all of them.
QUEUED_KIB = 64 + 64
REST_KIB = 4 * 1024
LARGE = 100 * 1024 * 1024
# Rounds of each flood, and connections of a round.
ROUNDS = 4
FLOODERS = 100
# Seconds that anything may take.
PATIENCE = 20
GET = b"GET /plaintext HTTP/1.1\r\nHost: h\r\n\r\n"


class Server:
    def __init__(self, *arguments):
        example = sys.argv[1] if len(sys.argv) > 1 else EXAMPLE
        self.process = subprocess.Popen(
            [example, "127.0.0.1:0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # The allocator gives back at once what it is given back: what is measured is what the
            # server holds, not what glibc keeps for later.
            env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "65536"},
        )
        atexit.register(self.process.kill)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])

    def connect(self, receive_buffer=None):
        sock = socket.socket()
        sock.settimeout(PATIENCE)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def rss(self):
        """Resident memory in KiB."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize() // 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def settle(self, descriptors):
        """Waits until everybody else has been let go."""
        until = time.monotonic() + PATIENCE
        while self.descriptors() > descriptors:
            check(time.monotonic() < until, f"{self.descriptors()} descriptors are left")
            time.sleep(0.02)

    def answers(self):
        with self.connect() as sock:
            sock.sendall(GET)
            return sock.recv(4096).startswith(b"HTTP/1.1 200 ")

    def stop(self):
        self.process.terminate()
        check(self.process.wait(PATIENCE) == 0, "it drains in the end")


def check(holds, text):
    if not holds:
        sys.exit(f"FAILED: {text}")


def p99(server, count=1500):
    """Of one request after the other, in microseconds."""
    times = []
    with server.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            start = time.perf_counter()
            sock.sendall(GET)
            sock.recv(4096)
            times.append(time.perf_counter() - start)
    return statistics.quantiles(times, n=100)[98] * 1e6


def attack(ports, orders, ready):
    """Holds slow heads open at each of `ports`, and goes on with those that `orders` tells."""
    socks = []
    for port in ports:
        at_port = []
        for _ in range(SLOW_HEADERS):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n")
            at_port.append(sock)
        socks.append(at_port)
    ready.set()
    target = 0
    while True:
        for first in range(0, SLOW_HEADERS, 100):
            if orders.poll():
                target = orders.recv()
                if target is None:
                    return
            for sock in socks[target][first : first + 100]:
                sock.sendall(b"X: y\r\n" if random.random() < 0.2 else b"")
            time.sleep(0.05)


def slow_headers():
    """The machine is as busy in both cases: the attack is on the server, or on another one."""
    victim, other = (Server("--header-timeout", "600") for _ in range(2))
    orders, theirs = multiprocessing.Pipe()
    ready = multiprocessing.Event()
    attacker = multiprocessing.Process(
        target=attack, args=((victim.port, other.port), theirs, ready), daemon=True
    )
    base, descriptors = victim.rss(), victim.descriptors()
    alone = [p99(victim) for _ in range(3)]
    attacker.start()
    check(ready.wait(PATIENCE * 2), "the attack begins")
    cost = victim.rss() - base
    calm, attacked = [], []
    for _ in range(7):
        orders.send(1)
        calm.append(p99(victim))
        orders.send(0)
        attacked.append(p99(victim))
    check(attacker.is_alive(), "the attack lasts")
    held = victim.descriptors() - descriptors
    check(held >= SLOW_HEADERS, f"all slow heads are still there, not {held}")
    orders.send(None)
    attacker.join(PATIENCE)
    victim.settle(descriptors)
    after = victim.rss()
    ratio = statistics.median(attacked) / statistics.median(calm)
    print(
        f"{SLOW_HEADERS} slow heads: p99 of a good client {statistics.median(attacked):.0f} us, "
        f"{statistics.median(calm):.0f} us while another server is attacked, "
        f"{statistics.median(alone):.0f} us without any: {ratio:.2f} times; "
        f"{cost / SLOW_HEADERS * 1024:.0f} bytes each; {base} KiB before, {after} after"
    )
    check(ratio <= 2, "the p99 of a good client is no more than doubled")
    check(cost <= SLOW_HEADERS * 2, "a slow head costs 2 KiB at most")
    check(after - base <= cost // 2 + REST_KIB, "memory returns")
    for server in (victim, other):
        server.stop()


def slow_readers():
    """Of what a handler makes as it is taken, and of a file, of which nothing is in memory."""
    with tempfile.TemporaryDirectory() as folder:
        name = os.path.join(folder, "large")
        with open(name, "wb") as file:
            file.truncate(LARGE)
        read_slowly(f"/stream/{LARGE}", QUEUED_KIB, folder)
        read_slowly("/files/large", 4, folder)


def read_slowly(path, each_kib, folder):
    server = Server("--root", folder)
    check(server.answers(), "it answers")
    base, descriptors = server.rss(), server.descriptors()
    peaks = []
    for _ in range(2):
        readers = [server.connect(receive_buffer=4096) for _ in range(SLOW_READERS)]
        for sock in readers:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        peak = 0
        # All of them begin, and read a little every now and then.
        for _ in range(5):
            for sock in readers:
                check(len(sock.recv(2048)) > 0, "the answer goes on")
            check(server.answers(), "it answers others")
            peak = max(peak, server.rss())
        peaks.append(peak)
        for sock in readers:
            sock.close()
        server.settle(descriptors)
    after = server.rss()
    print(
        f"{SLOW_READERS} slow readers of 100 MiB at {path.split('/')[1]}: {base} KiB before, "
        f"{peaks[0]} with them, {peaks[1]} with others, {after} after"
    )
    check(peaks[0] - base <= SLOW_READERS * each_kib + REST_KIB, "they stay within their limits")
    check(peaks[1] - peaks[0] <= REST_KIB, "the memory of the first serves the second")
    check(after - base <= (peaks[0] - base) // 2 + REST_KIB, "memory returns")
    server.stop()


def flood_of_headers(sock):
    line = b"X-" + b"a" * 60 + b": b\r\n"
    sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n" + line * 1000)
    check(b" 431 " in sock.recv(4096), "a flood of headers is answered 431")


def long_header(sock):
    sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 100_000)
    check(b" 431 " in sock.recv(4096), "a long header is answered 431")


def garbage(sock):
    sock.sendall(random.randbytes(20_000))


def reset(sock):
    sock.sendall(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000)
    closes_with_a_reset(sock)


def reset_of_an_answer(sock):
    sock.sendall(f"GET /stream/{LARGE} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    check(sock.recv(1000).startswith(b"HTTP/1.1 200 "), "the answer begins")
    closes_with_a_reset(sock)


def reset_at_once(sock):
    closes_with_a_reset(sock)
    sock.close()


def closes_with_a_reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def pipelined_and_unread(sock):
    sock.settimeout(0.05)
    sock.sendall(GET * 20_000)


def chunks_of_one(sock):
    head = b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    sock.sendall(head + b"1\r\nx\r\n" * 10_000)


def floods():
    server = Server()
    for _ in range(10):
        check(server.answers(), "it answers")
    base, descriptors = server.rss(), server.descriptors()
    kinds = [
        flood_of_headers,
        long_header,
        garbage,
        reset,
        reset_of_an_answer,
        reset_at_once,
        pipelined_and_unread,
        chunks_of_one,
    ]
    for kind in kinds:
        peak, after = flood(server, kind, descriptors)
        count = ROUNDS * FLOODERS
        print(f"{count} of {kind.__name__}: {base} KiB before, {peak} at most, {after} after")
        check(after - base <= 16 * 1024, f"memory returns after {kind.__name__}")
    # What is kept for the next one is kept once.
    first = server.rss()
    for kind in kinds:
        _, after = flood(server, kind, descriptors)
        check(after - first <= REST_KIB, f"no more is kept after {kind.__name__} once more")
    print(f"all of them once more: {first} KiB before, {server.rss()} after")
    server.stop()


def flood(server, kind, descriptors):
    """The server's memory at most, and when all of them have gone."""
    peak = 0
    for _ in range(ROUNDS):
        socks = []
        for _ in range(FLOODERS):
            sock = server.connect()
            socks.append(sock)
            # Whoever misbehaves is cut off, in the middle of it if need be.
            with contextlib.suppress(ConnectionError, TimeoutError):
                kind(sock)
        peak = max(peak, server.rss())
        for sock in socks:
            sock.close()
        check(server.answers(), f"it answers after {kind.__name__}")
    server.settle(descriptors)
    return peak, server.rss()


def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = 2 * SLOW_HEADERS + 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(need, hard)), hard))
    check(hard >= need, f"{need} descriptors are needed, {hard} allowed")
    random.seed(1)
    for part in (slow_headers, slow_readers, floods):
        part()


if __name__ == "__main__":
    main()
