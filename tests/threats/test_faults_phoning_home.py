"""Programs that phone home, in a network: found by `audit` at one moment, until they are ended."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from socketkit.threats import phoning_home
from socketkit.threats.finding import Finding
from tests.threats.auditing import Auditor, QuickAuditor, until
from tests.threats.namespaces import Network

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

MakeNetwork = Callable[..., Network]
PORT = 7171


def test_thin_connection_until_its_program_is_ended(
    network: MakeNetwork, program: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word now and then keeps it alive: by what the kernel counts it is always young."""
    monkeypatch.setattr(phoning_home, "LONG_SECONDS", 3.0)
    monkeypatch.setattr(phoning_home, "THIN_BYTES_PER_SECOND", 1000)
    net = network("home", "far")
    home, far = net["home"], net["far"]
    quick = QuickAuditor(home)
    with far.entered():
        listener = socket.create_server(("0.0.0.0", PORT))
    with listener:
        calling = home.start(program("nc"), far.ip4, str(PORT), stdin=subprocess.PIPE)
        assert calling.stdin is not None
        caller, _ = listener.accept()

        def beat() -> list[Finding]:
            assert calling.stdin is not None
            calling.stdin.write(b"here\n")
            calling.stdin.flush()
            caller.recv(5)
            return quick.new()

        with caller:
            assert beat() == []
            (found,) = until(beat, len)
            assert (found.id, found.severity) == ("PH2", "low")
            assert str(found.socket).endswith(f"-> tcp://{far.ip4}:{PORT}")
            assert f"[{calling.pid}]" in str(found.process)
            (remedy,) = found.commands
            Auditor(home, tmp_path).apply(remedy)
            calling.wait()
            assert quick.new() == []


def test_scan_until_it_is_ended(network: MakeNetwork, program: Callable[[str], str], tmp_path: Path) -> None:
    """A firewall drops what it sends: so its connections wait."""
    net = network("home", "far")
    home, far = net["home"], net["far"]
    far.run(program("nft"), "add table ip f; add chain ip f in { type filter hook input priority 0; policy drop; };")
    auditor = Auditor(home, tmp_path)
    home.run("ping", "-c", "1", "-W", "1", far.ip4, status=None)  # its hardware address is known from here on
    words = ("-n", "-Pn", "-sT", "-p1-1000", "--min-parallelism", "100", "--max-retries", "10")
    scanning = home.start(program("nmap"), *words, far.ip4)
    (found,) = auditor.until_new("PH5")
    assert found["severity"] == "high"
    assert f"nmap[{scanning.pid}]" in found["process"]
    assert f"{far.ip4}:" in found["evidence"]
    assert scanning.poll() is None
    (remedy,) = auditor.fix()
    assert remedy == f"kill {scanning.pid}"
    auditor.apply(remedy)
    scanning.wait()
    assert auditor.new() == []


# One socket for all questions, as tunnels have it.
ASKING = """
import itertools, socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in itertools.count():
    name = f"{number:08x}".encode() * 4
    question = b"".join(bytes([len(label)]) + label for label in (name, b"evil", b"test")) + bytes(1)
    head = (number % 65536).to_bytes(2, "big") + bytes.fromhex("01000001000000000000")
    sock.sendto(head + question + bytes.fromhex("00100001"), (sys.argv[1], 53))
    time.sleep(0.005)
"""


def test_tunnel_of_questions_until_it_is_ended(network: MakeNetwork, tmp_path: Path) -> None:
    net = network("home", "far")
    home, far = net["home"], net["far"]
    auditor = Auditor(home, tmp_path)
    with far.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("0.0.0.0", 53))
        asking = home.start(sys.executable, "-Sc", ASKING, far.ip4)

        def look() -> list[dict[str, Any]]:
            with auditor.looking("--seconds", "2") as audit:
                return auditor.told(audit)

        found = until(look, len)
        assert [(one["id"], one["severity"]) for one in found] == [("PH6", "medium"), ("OP1", "info")]
        assert f"[{asking.pid}]" in found[0]["process"]
        assert found[0]["socket"] == found[1]["socket"]
        (remedy,) = found[0]["commands"]
        auditor.apply(remedy)
        asking.wait()
        assert look() == []
