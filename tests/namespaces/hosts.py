"""Hosts for a test: network namespaces without names, joined by veth and bridge.

Each lives as long as a process that holds it, which ends when its standard input does. Knows
nothing of what is tested.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
# Seconds that a command may take: a bound, never a wait.
PATIENCE = 30


def enter():
    """Goes on in a namespace of its own, the switch of the hosts. False where that is forbidden."""
    if os.environ.get("WINDLASS_SWITCH"):
        return True
    for options in (["-n"], ["-rn"]) if os.getuid() == 0 else (["-rn"],):
        if subprocess.run(["unshare", *options, "true"], capture_output=True).returncode == 0:
            os.environ["WINDLASS_SWITCH"] = "1"
            os.execvp("unshare", ["unshare", *options, sys.executable, *sys.argv])
    print("no network namespaces are allowed here: left out")
    return False


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def set_namespace(file):
    if LIBC.setns(file.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def ip(*arguments):
    command = ["ip", *(str(argument) for argument in arguments)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)


class Host:
    """One host. In a `with` block this process is on it: sockets made there stay there."""

    def __init__(self, number):
        self.number = number
        self.address = f"10.74.0.{number}"
        self.holder = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "echo; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.holder.stdout.readline()
        self.ours = open("/proc/self/ns/net")
        self.theirs = open(f"/proc/{self.holder.pid}/ns/net")
        with self:
            ip("link", "set", "lo", "up")

    def __enter__(self):
        set_namespace(self.theirs)

    def __exit__(self, *_):
        set_namespace(self.ours)

    def start(self, command, **options):
        """Starts a program on it, which ends with this one at the latest."""
        with self:
            return subprocess.Popen(command, preexec_fn=die_with_parent, **options)

    def run(self, command):
        """Runs a program on it to a good end, and answers with what it printed."""
        with self:
            return subprocess.run(
                command, check=True, stdout=subprocess.PIPE, timeout=PATIENCE
            ).stdout

    def interface(self, name):
        """The number of an interface."""
        with self:
            return socket.if_nametoindex(name)

    def is_member(self, interface, group):
        shown = self.run(["ip", "maddr", "show", "dev", interface]).decode().split()
        return group in shown


def connect(bridge, interface, network, members):
    """Joins hosts by a bridge: 10.NETWORK.0.N/24 and fe80::N on an interface of each."""
    ip("link", "add", "name", bridge, "type", "bridge", "mcast_snooping", "0")
    ip("link", "set", bridge, "up")
    for host in members:
        port = f"{bridge}{host.number}"
        ip("link", "add", "name", port, "type", "veth", "peer", "name", interface,
           "netns", host.holder.pid)
        ip("link", "set", port, "master", bridge, "up")
        with host:
            ip("addr", "add", f"10.{network}.0.{host.number}/24", "brd", "+", "dev", interface)
            ip("link", "set", interface, "addrgenmode", "none")
            ip("link", "set", interface, "up")
            if os.path.exists("/proc/sys/net/ipv6"):
                ip("addr", "add", f"fe80::{host.number}/64", "dev", interface, "nodad")


def lose(percent, server, client, ports):
    """Loses so much of what arrives for these ports of a server, and of the answers."""
    if not shutil.which("nft"):
        return False
    ports = ", ".join(str(port) for port in ports)
    for host, side in ((server, "dport"), (client, "sport")):
        rules = f"""
            table inet bad_line {{
                chain input {{
                    type filter hook input priority 0;
                    udp {side} {{ {ports} }} numgen random mod 100 < {percent} drop
                }}
            }}"""
        with host:
            answer = subprocess.run(["nft", "-f", "-"], input=rules, text=True, capture_output=True)
        if answer.returncode != 0:
            print(f"nft: {answer.stderr.strip()}")
            return False
    return True
