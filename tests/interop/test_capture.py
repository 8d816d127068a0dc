"""Captures beside tcpdump's on the same interface at the same time, read by tcpdump and by tshark."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.threats.namespaces import Host, Network

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

MARK_PORT = 9  # what is sent there stands at the border of what is compared
MARK = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'mark', ({!r}, 9))"
SAY = """
import socket, sys
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for size in (0, 1, 1000, 5000):
    udp.sendto(bytes(size), (sys.argv[1], 53))
tcp = socket.socket(socket.AF_INET6)
tcp.connect_ex((sys.argv[1], 443))
tagged = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
tagged.bind(("eth0", 0))
ip = bytes.fromhex("450000200000000040110000c0000201c0000202") + bytes.fromhex("07d0003500000000") + b"data"
for tag in ("81002005", "88a80006", "8100000581000007"):
    tagged.send(bytes.fromhex("02000000000b02000000000a") + bytes.fromhex(tag) + b"\\x08\\0" + ip)
"""


class Wire:
    """Two hosts; captures are made at `receiver`."""

    def __init__(self, network: Network) -> None:
        self.sender, self.receiver = network["sender"], network["receiver"]

    def talk(self) -> None:
        self.mark()
        self.sender.run("ping", "-c", "2", "-i", "0.2", self.receiver.ip4)
        self.sender.run("ping", "-c", "1", "-s", "4000", self.receiver.ip4)
        self.sender.run(sys.executable, "-c", SAY, self.receiver.ip6)
        self.mark()

    def mark(self) -> None:
        self.sender.run(sys.executable, "-c", MARK.format(self.receiver.ip4))


@pytest.fixture
def wire(network: Callable[..., Network]) -> Wire:
    return Wire(network("sender", "receiver"))


class Capturing:
    """A program that captures on the receiver, until `stop`."""

    def __init__(self, host: Host, *words: str, out: Path | None = None) -> None:
        self._output = out.open("wb") if out else subprocess.DEVNULL
        self.process = host.start(*words, stdout=self._output, stderr=subprocess.PIPE)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if b"listening on" in line:
                return
        raise AssertionError(f"{words} does not capture")

    def stop(self) -> str:
        time.sleep(0.3)  # tcpdump leaves what it has not read
        self.process.send_signal(signal.SIGINT)
        assert self.process.stderr is not None
        said = self.process.stderr.read().decode()
        self.process.wait(10)
        if not isinstance(self._output, int):
            self._output.close()
        return said


def both(wire: Wire, tcpdump: str, folder: Path, interface: str, *expression: str) -> tuple[Path, Path]:
    """The file of each for the same traffic."""
    ours, theirs = folder / "ours.pcapng", folder / "theirs.pcap"
    words = [sys.executable, "-m", "socketkit", "capture", interface, "-w", str(ours), *expression]
    beside = [tcpdump, "-p", "-U", "--immediate-mode", "-B", "32768", "--nano", "-i", interface, "-w", "-", *expression]
    captures = [Capturing(wire.receiver, *words), Capturing(wire.receiver, *beside, out=theirs)]
    wire.talk()
    for capturing in captures:
        capturing.stop()
    return ours, theirs


def packets(tcpdump: str, path: Path) -> list[tuple[float, str]]:
    """What tcpdump reads in a file: time, then words and bytes, of each packet between the two marks."""
    words = [tcpdump, "-n", "-tt", "--nano", "-xx", "-r", str(path)]
    text = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout
    found: list[str] = []
    for line in text.splitlines():
        if line.startswith("\t"):
            found[-1] += line
        else:
            found.append(line)
    marks = [number for number, packet in enumerate(found) if f".{MARK_PORT}: UDP, length 4" in packet]
    assert len(marks) == 2, found
    parted = [packet.partition(" ") for packet in found[marks[0] : marks[1] + 1]]
    return [(float(at), what) for at, _, what in parted]


def assert_same(tcpdump: str, ours: Path, theirs: Path) -> int:
    """How many they are."""
    mine, other = packets(tcpdump, ours), packets(tcpdump, theirs)
    # What two processors have at the same time is queued for each listener in an order of its own, and may get its time
    # there.
    assert sorted(what for _, what in mine) == sorted(what for _, what in other)
    assert all(abs(at - beside) < 1 for (at, _), (beside, _) in zip(mine, other, strict=True))
    return len(mine)


@pytest.mark.parametrize("interface", ["eth0", "any"])
def test_same_packets_as_tcpdump(wire: Wire, program: Callable[[str], str], tmp_path: Path, interface: str) -> None:
    tcpdump = program("tcpdump")
    # In the cooked format tcpdump leaves VLAN tags out, where we put them in: without them there.
    expression = () if interface == "eth0" else ("not net 192.0.2.0/24 and not ether proto 0x8100",)
    ours, theirs = both(wire, tcpdump, tmp_path, interface, *expression)
    assert assert_same(tcpdump, ours, theirs) > 15
    if interface == "eth0":
        assert "vlan" in fields(program("tshark"), ours, "frame.protocols")


@pytest.mark.parametrize(
    "expression",
    ["icmp", "ip6 and udp port 53", "tcp[tcpflags] & tcp-rst != 0", "vlan 5", "inbound and greater 1000", "arp"],
)
def test_same_filter_as_tcpdump(wire: Wire, program: Callable[[str], str], tmp_path: Path, expression: str) -> None:
    tcpdump = program("tcpdump")
    # In this order: behind `vlan` an expression means what the VLAN carries.
    ours, theirs = both(wire, tcpdump, tmp_path, "eth0", f"udp port {MARK_PORT} or ({expression})")
    assert assert_same(tcpdump, ours, theirs) > 2 or expression in ("arp", "tcp[tcpflags] & tcp-rst != 0")


def test_tshark_reads_what_the_file_says_of_itself(wire: Wire, program: Callable[[str], str], tmp_path: Path) -> None:
    path, tshark = tmp_path / "ours.pcapng", program("tshark")
    words = [sys.executable, "-m", "socketkit", "capture", "eth0", "-w", str(path), "--snap", "96", "udp", "or", "icmp"]
    capturing = Capturing(wire.receiver, *words)
    wire.talk()
    assert " captured into " in capturing.stop()
    assert set(fields(tshark, path, "frame.interface_name").split()) == {"eth0"}
    # Bits 0 and 1 of the flags: 1 in, 2 out.
    assert {int(flags, 0) & 3 for flags in fields(tshark, path, "frame.packet_flags").split()} == {1, 2}
    lengths = [line.split("\t") for line in fields(tshark, path, "frame.len", "frame.cap_len").splitlines()]
    assert all(int(captured) == min(int(length), 96) for length, captured in lengths)
    assert any(int(length) > 96 for length, _ in lengths)
    verbose = subprocess.run([program("capinfos"), str(path)], capture_output=True, text=True, check=True, timeout=20)
    assert "pcapng" in verbose.stdout
    assert "Filter string = udp or icmp" in verbose.stdout
    assert "Capture length = 96" in verbose.stdout
    assert "nanoseconds (9)" in verbose.stdout
    assert "Number of stat entries = 1" in verbose.stdout


def fields(tshark: str, path: Path, *names: str) -> str:
    chosen = [word for name in names for word in ("-e", name)]
    words = [tshark, "-n", "-r", str(path), "-T", "fields", *chosen]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout
