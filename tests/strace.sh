#!/bin/bash
# The system calls of an echoed message: one receive, one send, and its share of a poll.
#
# Runs the example `echo` below strace and counts. It needs strace, python3 and a release build of
# the examples.
set -euo pipefail
cd "$(dirname "$0")/.."

connections=8
rounds=1250
messages=$((connections * rounds))
# Calls that belong to no message: the accepts and reads of beginning and end.
slack=$((connections * 4 + 16))
# Seconds after which it has failed: a bound, never a wait.
patience=60

echo_server="${CARGO_TARGET_DIR:-target}/release/examples/echo"
work="$(mktemp -d)"
tracer=
server=
trap 'kill $server $tracer 2>/dev/null || true; rm -rf "$work"' EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

strace -f -c -o "$work/calls" "$echo_server" 127.0.0.1:0 >"$work/out" 2>"$work/err" &
tracer=$!
deadline=$((SECONDS + patience))
until grep -q '^listening on ' "$work/out"; do
    kill -0 "$tracer" 2>/dev/null && ((SECONDS < deadline)) ||
        fail "echo does not listen: $(cat "$work/err")"
    sleep 0.05
done
address="$(sed -n 's,^listening on tcp://,,p' "$work/out")"
server="$(tr -d " " <"/proc/$tracer/task/$tracer/children")"

timeout "$patience" python3 - "$address" "$connections" "$rounds" <<'PYTHON'
import socket, sys

host, port = sys.argv[1].rsplit(":", 1)
connections, rounds = int(sys.argv[2]), int(sys.argv[3])
message = b"x" * 64
clients = [socket.create_connection((host, int(port))) for _ in range(connections)]
for _ in range(rounds):
    for client in clients:
        client.sendall(message)
    for client in clients:
        left = len(message)
        while left:
            part = client.recv(left)
            assert part, "the connection has ended"
            left -= len(part)
PYTHON

kill -TERM "$server"
timeout "$patience" tail --pid="$tracer" -f /dev/null || fail "no end after SIGTERM"
wait "$tracer" || fail "echo exits with $?"
server= tracer=

cat "$work/calls"

# count NAME...: how often these were called.
count() {
    local name sum=0 calls
    for name in "$@"; do
        calls="$(awk -v name="$name" '$NF == name { print $4 }' "$work/calls")"
        sum=$((sum + ${calls:-0}))
    done
    echo "$sum"
}

# expect WHAT COUNT MIN MAX
expect() {
    echo "$1: $2, from $3 to $4 expected"
    (($3 <= $2 && $2 <= $4)) || fail "$1: $2"
}

echo "$messages messages over $connections connections"
expect receives "$(count recvfrom read recvmsg readv)" "$messages" $((messages + slack))
expect sends "$(count sendto write sendmsg writev)" "$messages" $((messages + slack))
# Each connection once; the listener and the pipe of the signals twice, because they are taken off
# the poller before they are closed.
expect registrations "$(count epoll_ctl)" "$connections" $((connections + 4))
expect polls "$(count epoll_wait epoll_pwait epoll_pwait2)" 1 $((messages + slack))
