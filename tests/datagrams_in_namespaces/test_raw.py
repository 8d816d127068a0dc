"""Below the transport, across a wire: ICMP, packets and frames, by the API, by the commands, by relays."""

from __future__ import annotations

import asyncio
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from socketkit import Datagrams, Messages, UnreachablePeer, bind, connect, relay
from tests.cli.programs import Program
from tests.conftest import Run
from tests.datagrams_in_namespaces.hosts import at, bound, connected, ip, next_of, raised
from tests.threats.namespaces import Host, Network, in_namespace

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

MakeNetwork = Callable[..., Network]
Socketkit = Callable[..., Program]

EXPERIMENT = "0x88b5"  # IEEE 802 keeps this EtherType for experiments, RFC 3692 the protocol 253
FRAME = bytes.fromhex("ffffffffffff 020000000001 88b5")
NO_RAW = ("setpriv", "--bounding-set=-net_raw")
ECHO_REPLIES = {"4": 0, "6": 129}


@pytest.fixture
def hosts(network: MakeNetwork) -> Network:
    return network("ours", "theirs")


@pytest.fixture
def socketkit() -> Iterator[Socketkit]:
    """`socketkit(host, "connect", url)` starts the command there; `before` is what starts it."""
    running: list[Program] = []

    def start(host: Host, *words: str, before: tuple[str, ...] = (), **options: Any) -> Program:
        command = in_namespace(host.namespace, *before, sys.executable, "-m", "socketkit", *words)
        running.append(Program(command, **options))
        return running[-1]

    yield start
    for program in running:
        program.close()


def packets(host: Host, family: str, *parameters: str) -> str:
    where = host.ip4 if family == "4" else f"[{host.ip6}]"
    return f"raw+ip://{where}?{'&'.join((*parameters, 'proto=253'))}"


def pings(address: str) -> str:
    return f"icmp://[{address}]" if ":" in address else f"icmp://{address}"


def echo_request(family: str, data: bytes) -> bytes:
    """RFC 792, with the checksum that a raw socket needs; of ICMPv6 the kernel writes it."""
    message = struct.pack("!BBHHH", 8 if family == "4" else 128, 0, 0, 7, 1) + data
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    total = (total & 0xFFFF) + (total >> 16)
    return message[:2] + struct.pack("!H", ~total & 0xFFFF) + message[4:]


def may_ping(host: Host, *, ping: bool) -> None:
    """Let the host's users have ping sockets, or none: then these are raw ones."""
    host.run("sysctl", "-q", "-w", f"net.ipv4.ping_group_range={'0 0' if ping else '1 0'}")


# --- the API


@pytest.mark.parametrize("ping", [True, False], ids=["ping socket", "raw socket"])
def test_a_host_is_pinged(run: Run, hosts: Network, family: str, ping: bool) -> None:
    may_ping(hosts["ours"], ping=ping)

    async def main() -> None:
        with hosts["ours"].entered():
            peer = await connect(pings(ip(hosts["theirs"], family)), Messages)
            anybody = await bind("icmp://*" if family == "4" else "icmp://[::]")
        async with peer, anybody, asyncio.timeout(5):
            await peer.send(echo_request(family, b"connected"[:8]))
            reply = await peer.receive()
            assert (reply[0], reply[8:]) == (ECHO_REPLIES[family], b"connecte")
            await anybody.send(echo_request(family, b"anybody!"), pings(ip(hosts["theirs"], family)))
            while (datagram := await anybody.receive()).data[8:] != b"anybody!":
                pass  # a raw socket hears the other one's, too
            assert datagram.peer is not None
            assert datagram.peer.host == ip(hosts["theirs"], family)
            assert datagram.local is not None
            assert datagram.local.host == ip(hosts["ours"], family)

    run(main())


@pytest.mark.parametrize("ping", [True, False], ids=["ping socket", "raw socket"])
def test_a_host_that_is_not_there(run: Run, hosts: Network, ping: bool) -> None:
    """The kernel says so when nobody has answered its ARP requests."""
    may_ping(hosts["ours"], ping=ping)

    async def main() -> None:
        with hosts["ours"].entered():
            peer = await connect("icmp://10.77.0.99", Messages)

        async def ask() -> None:
            await peer.send(echo_request("4", b"nobody"))
            async with asyncio.timeout(4):
                await peer.receive()

        async with peer:
            told = await raised(ask, UnreachablePeer)
            assert "10.77.0.99" in str(told)

    run(main(), 20)


def test_packets_are_answered_from_where_they_came_to(run: Run, hosts: Network, family: str) -> None:
    async def main() -> None:
        with hosts["theirs"].entered():
            host = "*" if family == "4" else "[::]"
            server = await bind(f"raw+ip://{host}?proto=253")
        with hosts["ours"].entered():
            client = await connect(packets(hosts["theirs"], family), Messages)
        async with server, client, asyncio.timeout(5):
            await client.send_many([b"one", b"two"])
            for data in (b"one", b"two"):
                question = await server.receive()
                assert question.data == data
                assert question.peer is not None
                assert question.local is not None
                assert question.peer.host == ip(hosts["ours"], family)
                assert question.local.host == ip(hosts["theirs"], family)
                await server.answer(question, data.upper())
            assert [await client.receive(), await client.receive()] == [b"ONE", b"TWO"]

    run(main())


def test_a_written_header_crosses_the_wire(run: Run, hosts: Network) -> None:
    ours, theirs = hosts["ours"], hosts["theirs"]

    async def main() -> None:
        with theirs.entered():
            server = await bind(packets(theirs, "4", "header=yes"))
        with ours.entered():
            client = await connect(packets(theirs, "4", "header=yes"), Messages)
        async with server, client:
            addresses = bytes(map(int, f"{ours.ip4}.{theirs.ip4}".split(".")))
            await client.send(struct.pack("!BBHHHBBH", 0x45, 0, 0, 7, 0, 33, 253, 0) + addresses + b"payload")
            packet = (await next_of(server)).data
            assert (packet[8], packet[12:20], packet[20:]) == (33, addresses, b"payload")

    run(main())


def test_frames_cross_the_wire(run: Run, hosts: Network) -> None:
    async def main() -> None:
        ours, theirs = [await frames_of(hosts[name]) for name in ("ours", "theirs")]
        async with ours, theirs:
            await send_frames(hosts["ours"], ours, FRAME + b"one", FRAME + b"two")
            for data in (b"one", b"two"):
                frame = await next_of(theirs)
                assert frame.data == FRAME + data
                await theirs.answer(frame, FRAME + data.upper())
            assert [(await next_of(ours)).data for _ in range(2)] == [FRAME + b"ONE", FRAME + b"TWO"]

    run(main())


async def frames_of(host: Host) -> Datagrams:
    with host.entered():
        return await bind(f"raw+ethernet://eth0?proto={EXPERIMENT}")


async def send_frames(host: Host, frames: Datagrams, *data: bytes) -> None:
    """The interface's name is looked up where this thread is."""
    with host.entered():
        await frames.send_many(data, "raw+ethernet://eth0")


# --- relays


def test_datagrams_are_relayed_to_packets(run: Run, hosts: Network, family: str) -> None:
    """And back: each peer of the datagram socket has a raw socket of its own, which hears all from there."""

    async def main() -> None:
        ours, theirs = hosts["ours"], hosts["theirs"]
        with theirs.entered():
            server = await bind(packets(theirs, family))
        async with server, await bound(ours, "127.0.0.1") as entry:
            relaying = asyncio.ensure_future(relayed_in(ours, entry, packets(theirs, family)))
            async with await connected(ours, "127.0.0.1", entry.local.port) as caller, asyncio.timeout(5):
                await caller.send_many([b"one", b"two"])
                for data in (b"one", b"two"):
                    question = await server.receive()
                    assert question.data == data
                    await server.answer(question, data.upper())
                assert [await caller.receive(), await caller.receive()] == [b"ONE", b"TWO"]
            relaying.cancel()

    run(main())


def test_packets_are_relayed_to_datagrams(run: Run, hosts: Network) -> None:
    async def main() -> None:
        ours, theirs = hosts["ours"], hosts["theirs"]
        with theirs.entered():
            entry = await bind(packets(theirs, "4"))
        with ours.entered():
            caller = await connect(packets(theirs, "4"), Messages)
        async with entry, caller, await bound(theirs, "127.0.0.1") as server, asyncio.timeout(5):
            relaying = asyncio.ensure_future(relayed_in(theirs, entry, at("127.0.0.1", server.local.port)))
            await caller.send(b"question")
            question = await server.receive()
            assert question.data == b"question"
            await server.answer(question, b"answer")
            assert await caller.receive() == b"answer"
            relaying.cancel()

    run(main())


def test_frames_are_relayed_to_datagrams(run: Run, hosts: Network) -> None:
    async def main() -> None:
        ours, theirs = hosts["ours"], hosts["theirs"]
        entry, frames = await frames_of(theirs), await frames_of(ours)
        async with entry, frames, await bound(theirs, "127.0.0.1") as server, asyncio.timeout(5):
            relaying = asyncio.ensure_future(relayed_in(theirs, entry, at("127.0.0.1", server.local.port)))
            await send_frames(ours, frames, FRAME + b"question")
            question = await server.receive()
            assert question.data == FRAME + b"question"
            await server.answer(question, FRAME + b"answer")
            assert (await frames.receive()).data == FRAME + b"answer"
            relaying.cancel()

    run(main())


async def relayed_in(host: Host, entry: Datagrams, target: str) -> None:
    """Its sockets to the target are opened while it runs, all by this thread."""
    with host.entered():
        await relay(entry, target)


# --- the commands


def test_listen_and_connect_speak_by_packets(hosts: Network, socketkit: Socketkit, family: str) -> None:
    where = packets(hosts["theirs"], family)
    listening = socketkit(hosts["theirs"], "listen", "--wait", "5", where, stdin=subprocess.PIPE)
    assert listening.endpoint == where
    calling = socketkit(hosts["ours"], "connect", "--wait", "10", where, stdin=subprocess.PIPE)
    calling.write(b"one\ntwo\n")
    assert listening.read(8) == b"one\ntwo\n"
    assert listening.said("messages from") == f"messages from {packets(hosts['ours'], family)}"
    listening.write(b"three\n")
    assert calling.read(6) == b"three\n"
    calling.interrupt()
    listening.interrupt()
    assert (calling.finish().status, listening.finish().status) == (130, 130)


@pytest.mark.parametrize("ping", [True, False], ids=["ping socket", "raw socket"])
def test_connect_pings(hosts: Network, socketkit: Socketkit, family: str, ping: bool) -> None:
    may_ping(hosts["ours"], ping=ping)
    where = pings(ip(hosts["theirs"], family))
    command = socketkit(hosts["ours"], "connect", "--messages", "whole", "--wait", "0.5", where, stdin=subprocess.PIPE)
    result = command.finish(echo_request(family, b"question"))
    assert (result.status, result.out[0], result.out[8:]) == (0, ECHO_REPLIES[family], b"question")


def test_listen_shows_frames_and_sends_what_it_reads(run: Run, hosts: Network, socketkit: Socketkit) -> None:
    where = f"raw+ethernet://eth0?proto={EXPERIMENT}"
    words = ("listen", "--messages", "lengths", where)
    listening = socketkit(hosts["theirs"], *words, stdin=subprocess.PIPE)
    assert listening.endpoint == where

    async def main() -> None:
        frames = await frames_of(hosts["ours"])
        async with frames:
            await send_frames(hosts["ours"], frames, FRAME + b"question")
            shown = await asyncio.to_thread(listening.read, 4 + len(FRAME) + 8)
            assert shown == struct.pack("!I", len(FRAME) + 8) + FRAME + b"question"
            listening.write(struct.pack("!I", len(FRAME) + 6) + FRAME + b"answer")
            assert (await next_of(frames)).data == FRAME + b"answer"

    run(main())
    listening.interrupt()
    assert listening.finish().status == 130


def test_relay_of_the_command_line(hosts: Network, socketkit: Socketkit) -> None:
    """From a raw socket to UDP, and from there to a raw socket again."""
    ours, theirs = hosts["ours"], hosts["theirs"]
    listening = socketkit(theirs, "listen", "--echo", "udp4://127.0.0.1:0")
    there = socketkit(theirs, "relay", packets(theirs, "4"), listening.endpoint)
    assert there.endpoint == packets(theirs, "4")
    here = socketkit(ours, "relay", "udp4://127.0.0.1:0", packets(theirs, "4"))
    calling = socketkit(ours, "connect", "--wait", "10", here.endpoint, stdin=subprocess.PIPE)
    calling.write(b"one\ntwo\n")
    assert calling.read(8) == b"one\ntwo\n"
    for program, words in ((there, "2 messages (6 B) to the target, 2 messages (6 B) back"), (here, "1 peer")):
        program.interrupt()
        result = program.finish()
        assert result.status == 130
        assert words in result.err


@pytest.mark.parametrize(
    "words",
    [
        ("connect", "raw+ip://127.0.0.1?proto=253"),
        ("listen", "raw+ip://127.0.0.1?proto=253"),
        ("serve", "discard", "raw+ip://127.0.0.1?proto=253"),
        ("relay", "raw+ip://127.0.0.1?proto=253", "udp://localhost:9"),
        ("relay", "udp://localhost:0", "raw+ip://127.0.0.1?proto=253"),
        ("connect", "icmp://127.0.0.1"),
        ("listen", "icmp://[::1]"),
        ("relay", "udp://localhost:0", "icmp://127.0.0.1"),
        ("listen", f"raw+ethernet://lo?proto={EXPERIMENT}"),
        ("relay", f"raw+ethernet://lo?proto={EXPERIMENT}", "udp://localhost:9"),
    ],
    ids=" ".join,
)
def test_who_may_not_is_told_how_to(
    hosts: Network, socketkit: Socketkit, program: Callable[[str], str], words: tuple[str, ...]
) -> None:
    program("setpriv")
    may_ping(hosts["ours"], ping=False)
    result = socketkit(hosts["ours"], *words, before=NO_RAW).finish()
    assert result.status == 1
    assert result.out == b""
    assert "CAP_NET_RAW" in result.err
    assert "`sudo setcap cap_net_raw+ep /" in result.err
    assert ("net.ipv4.ping_group_range" in result.err) == any(word.startswith("icmp") for word in words)
    assert "fault of socketkit" not in result.err
