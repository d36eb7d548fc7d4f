#!/bin/bash
# User-space instructions per echoed message of 64 bytes over 64 connections, beside those of a
# bare `mio` loop; and per HTTP request over 32 connections.
#
# Counted by valgrind, which is the same from run to run but for how many events a poll happens to
# return. Each server is run twice, with N and with 3 N messages: the difference, divided by 2 N,
# leaves out how they begin and end. Servers and load are those of benches/echo; for HTTP they are
# the example (a release build) and a few lines of Python. It needs valgrind and python3.
#
# instructions.sh [MAX [MAX_HTTP]]: fails if a message costs more than MAX instructions on top of the
# bare loop's, or a request more than MAX_HTTP.
set -euo pipefail
cd "$(dirname "$0")/.."

few=10000
many=$((3 * few))
# Seconds after which it has failed: a bound, never a wait.
patience=300

work="$(mktemp -d)"
server=
trap 'kill $server 2>/dev/null || true; rm -rf "$work"' EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

bench="$(cargo bench --no-run --bench echo --message-format short 2>&1 |
    sed -n 's,.*Executable .*(\(.*\))$,\1,p')"
[[ -x "$bench" ]] || fail "the bench is not built"

# instructions KIND MESSAGES: all that the server executes while it echoes so many messages.
instructions() {
    local port= deadline=$((SECONDS + patience))
    : >"$work/out"
    valgrind --tool=cachegrind --cache-sim=no --cachegrind-out-file=/dev/null \
        --log-file="$work/log" "$bench" serve "$1" >"$work/out" &
    server=$!
    until [[ -s "$work/out" ]]; do
        kill -0 "$server" 2>/dev/null && ((SECONDS < deadline)) || fail "$1 does not listen"
        sleep 0.05
    done
    port="$(cat "$work/out")"
    timeout "$patience" "$bench" load 64x64 --port "$port" --messages "$2" >/dev/null
    kill -TERM "$server"
    wait "$server" || true
    server=
    sed -n 's/,//g; s/.*I *refs: *//p' "$work/log"
}

per_message() {
    local less more
    less="$(instructions "$1" "$few")"
    more="$(instructions "$1" "$many")"
    echo $(((more - less) / (many - few)))
}

# http_instructions REQUESTS: all that the example executes while it answers so many.
http_instructions() {
    local address= deadline=$((SECONDS + patience))
    : >"$work/out"
    valgrind --tool=cachegrind --cache-sim=no --cachegrind-out-file=/dev/null \
        --log-file="$work/log" "$http" 127.0.0.1:0 >"$work/out" &
    server=$!
    until [[ -s "$work/out" ]]; do
        kill -0 "$server" 2>/dev/null && ((SECONDS < deadline)) || fail "http does not listen"
        sleep 0.05
    done
    address="$(sed -n 's,^listening on http://,,p' "$work/out")"
    timeout "$patience" python3 - "$address" "$1" <<'PYTHON'
import socket, sys

address, requests = sys.argv[1], int(sys.argv[2])
host, port = address.rsplit(":", 1)
clients = [socket.create_connection((host, int(port))) for _ in range(32)]
request = f"GET /plaintext HTTP/1.1\r\nHost: {address}\r\nUser-Agent: instructions/1.0 (x)\r\n\r\n"
for _ in range(requests // len(clients)):
    for client in clients:
        client.sendall(request.encode())
    for client in clients:
        answer = b""
        while not answer.endswith(b"\r\n\r\nHello, World!"):
            part = client.recv(4096)
            assert part, "the connection has ended"
            answer += part
PYTHON
    kill -TERM "$server"
    wait "$server" || true
    server=
    sed -n 's/,//g; s/.*I *refs: *//p' "$work/log"
}

per_request() {
    local less more
    less="$(http_instructions 9600)"
    more="$(http_instructions 28800)"
    echo $(((more - less) / 19200))
}

http="${CARGO_TARGET_DIR:-target}/release/examples/http"
[[ -x "$http" ]] || fail "the example http is not built"
request="$(per_request)"
echo "instructions per HTTP request: $request"
if (($# > 1)) && ((request > $2)); then
    fail "at most $2 are allowed"
fi

bare="$(per_message bare)"
windlass="$(per_message windlass)"
echo "instructions per message: bare loop $bare, windlass $windlass ($((windlass - bare)) more)"
if (($# > 0)) && ((windlass - bare > $1)); then
    fail "at most $1 more are allowed"
fi
