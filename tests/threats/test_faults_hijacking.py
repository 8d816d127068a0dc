"""Hijacking, made in a network and found by `audit` there, until what the finding says was done."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.threats.auditing import PATIENCE_SECONDS, Auditor, until
from tests.threats.namespaces import Host, Network, in_namespace

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

PORT, FIRST_CALLER = 7171, 20_001
GUESSES = 300


def guessed(host: Host) -> int:
    """How many segments were almost right, answered or not."""
    with host.entered():
        lines = Path("/proc/thread-self/net/netstat").read_text().splitlines()
    counters = dict(zip(lines[0].split(), lines[1].split(), strict=True))
    return int(counters["TCPChallengeACK"]) + int(counters["TCPACKSkippedChallenge"])


def test_guesses_at_a_connection_until_their_sender_is_cut_off(
    network: Callable[..., Network], program: Callable[[str], str], tmp_path: Path
) -> None:
    """One connection, as an attacker would choose it: of it the kernel answers two guesses a second at most."""
    net = network("server", "caller", "attacker")
    server, caller, attacker = (net[name] for name in ("server", "caller", "attacker"))
    with ExitStack() as stack:
        with server.entered():
            listener = stack.enter_context(socket.create_server(("0.0.0.0", PORT)))
        with caller.entered():
            calling = socket.create_connection((server.ip4, PORT), source_address=("", FIRST_CALLER))
        stack.enter_context(calling)
        served = stack.enter_context(listener.accept()[0])
        auditor = Auditor(server, tmp_path)

        def guess() -> None:
            words = ("-q", "-n", "-S", "-a", caller.ip4, "-k", "-s", str(FIRST_CALLER), "-p", str(PORT))
            attacker.run(program("hping3"), *words, "-c", str(GUESSES), "-i", "u500", server.ip4, status=None)

        guess()
        until(lambda: guessed(server), lambda number: number >= GUESSES // 2)
        (found,) = auditor.new()
        assert (found["id"], found["severity"]) == ("HJ6", "medium")
        # What it says to do: a look at who sends them, who is cut off then.
        (expression,) = re.findall(r"socketkit capture any '(.*)'", found["remedy"])
        sender = sender_of_syns(auditor, server, tmp_path, expression, guess)
        assert sender == attacker.hardware_address() != caller.hardware_address()
        unplug(net, sender)
        auditor.new()  # of those that were looked at
        before = guessed(server)
        guess()
        assert guessed(server) == before
        assert auditor.new() == []
        calling.send(b"still there")
        assert served.recv(11) == b"still there"


def sender_of_syns(auditor: Auditor, server: Host, folder: Path, expression: str, guess: Callable[[], None]) -> str:
    """The hardware address that is in them, as `socketkit capture` writes them down."""
    file = folder / "guesses.pcapng"
    words = ("socketkit", "capture", "eth0", "-c", "1", "-w", str(file), expression)
    with auditor.started(*words) as capture:
        assert capture.stderr is not None
        assert "listening on eth0" in capture.stderr.readline()
        guess()
        assert capture.wait(PATIENCE_SECONDS) == 0
    frame = file.read_bytes().partition(bytes.fromhex(server.hardware_address().replace(":", "")))[2]
    return frame[:6].hex(":")


def unplug(net: Network, hardware: str) -> None:
    """Take the plug of the machine with that address out of the switch, which knows where it is."""

    def wire(*words: str) -> str:
        command = in_namespace(f"{net.name}-wire", *words)
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout

    (port,) = re.findall(rf"^{hardware} dev (\S+) master wire", wire("bridge", "fdb", "show"), re.MULTILINE)
    wire("ip", "link", "set", port, "down")
