"""Datagrams, whose sender anybody can forge: no thief of a port, no reply to junk, no amplifier, no endless loop."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import socketkit.sync
from socketkit import Datagrams, ListenError, bind
from tests.conftest import Run
from tests.threats.namespaces import Host, Network
from tests.threats.test_squatting import stranger

__all__ = ["stranger"]

MakeNetwork = Callable[..., Network]

PORT = 7104
DATAGRAMS = 40


# --- thieves of a port

OURS = {
    "udp://127.0.0.1:0": "4",
    "udp://[::1]:0": "6",
    "udp4://*:0?plaintext=yes": "4",
    "udp://*:0?plaintext=yes": "46",
}
WIDER_AND_NARROWER = {"4": ("127.0.0.1", "0.0.0.0"), "6": ("[::1]", "[::]")}


@pytest.mark.privileged
@pytest.mark.parametrize("share", [False, True], ids=["alone", "shared"])
@pytest.mark.parametrize(("ours", "families"), OURS.items())
def test_a_thief_of_our_port_gets_nothing(
    program: Callable[[str], str], stranger: Callable[..., list[str]], ours: str, families: str, share: bool
) -> None:
    """Another user, with every option that shares ports, on wider and on narrower addresses: 0 of 40."""
    with socketkit.sync.bind(sharing(ours) if share else ours) as server:
        port = server.local.port
        for family in families:
            for address in WIDER_AND_NARROWER[family]:
                alone = ",ipv6only=1" if family == "6" else ""
                socat = f"UDP{family}-RECV:{port},bind={address},reuseaddr,reuseport{alone}"
                words = stranger(program("socat"), "-u", socat, "STDOUT")
                thief = subprocess.run(words, capture_output=True, text=True, timeout=5, check=False)
                assert thief.returncode != 0
                assert "Address already in use" in thief.stderr
            assert received_of(server, family) == DATAGRAMS


@pytest.mark.parametrize("ours", ["udp://127.0.0.1:0", "udp://[::1]:0"])
def test_a_port_is_shared_only_among_those_who_say_so(ours: str) -> None:
    """And all datagrams reach one of them."""
    with socketkit.sync.bind(ours) as alone:
        for second in (f"{alone.local}", sharing(str(alone.local))):
            with pytest.raises(ListenError, match="already in use"):
                socketkit.sync.bind(second)
    with socketkit.sync.bind(sharing(ours)) as one:
        where = str(one.local.replace(query={}))
        with pytest.raises(ListenError, match="already in use"):
            socketkit.sync.bind(where)
        with socketkit.sync.bind(sharing(where)) as other:
            assert other.local.port == one.local.port
            senders = [socketkit.sync.bind(ours) for _ in range(DATAGRAMS)]
            for sender in senders:
                sender.send(b"x", where)
            assert waiting_at(one) + waiting_at(other) == DATAGRAMS
            for sender in senders:
                sender.close()


def sharing(address: str) -> str:
    return f"{address}{'&' if '?' in address else '?'}share=yes"


def received_of(server: socketkit.sync.Datagrams, family: str) -> int:
    """How many of DATAGRAMS come to it, each from a port of its own, as SO_REUSEPORT spreads them."""
    kind, host = (socket.AF_INET, "127.0.0.1") if family == "4" else (socket.AF_INET6, "::1")
    for _ in range(DATAGRAMS):
        with socket.socket(kind, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"to us", (host, server.local.port))
    return waiting_at(server)


def waiting_at(server: socketkit.sync.Datagrams) -> int:
    count = 0
    try:
        with socketkit.sync.timeout(0.05):
            while True:
                count += len(server.receive_many())
    except TimeoutError:
        return count


# --- forged senders


@pytest.fixture
def hosts(network: MakeNetwork) -> Network:
    return network("server", "victim", "attacker")


@pytest.mark.privileged
@pytest.mark.slow
def test_junk_gets_no_reply(run: Run, hosts: Network, figures: Callable[[str], None]) -> None:
    """1,000 datagrams of every kind to a service that answers questions only; a question is answered all the same."""
    server, attacker = hosts["server"], hosts["attacker"]

    async def main() -> None:
        async with await bound(server, f"udp://{server.ip4}:{PORT}?plaintext=yes") as service:
            serving = asyncio.ensure_future(answer_questions(service))
            with plain(attacker) as sender:
                for number in range(1000):
                    junk = os.urandom(number % 1400) if number % 4 else JUNK[number // 4 % len(JUNK)]
                    sender.sendto(junk, (server.ip4, PORT))
                    await asyncio.sleep(0)
                sender.settimeout(5)
                sender.sendto(b"ask: are you there?", (server.ip4, PORT))
                answer = await asyncio.get_running_loop().run_in_executor(None, sender.recv, 2000)
                assert answer == b"yes"
                sender.setblocking(False)
                with pytest.raises(BlockingIOError):
                    sender.recv(2000)
            assert service.stats["dropped"] == 0
            serving.cancel()
            figures("1,000 junk datagrams to a UDP service: 0 replies; the question behind them was answered")

    run(main())


@pytest.mark.privileged
@pytest.mark.slow
def test_a_forged_sender_gets_no_more_than_was_sent(run: Run, hosts: Network, figures: Callable[[str], None]) -> None:
    """A service that answers each question by a hundred times its size: the victim is not hit harder than by hand."""
    server, victim, attacker = hosts["server"], hosts["victim"], hosts["attacker"]
    question = b"ask: for all that there is"
    sent = 200 * len(question)

    async def main() -> None:
        async with await bound(server, f"udp://{server.ip4}:{PORT}?plaintext=yes") as service:
            serving = asyncio.ensure_future(answer_much(service, 100))
            with plain(victim, 5353) as hit, forging(attacker) as forger:
                for _ in range(200):
                    forger.sendto(forged(victim.ip4, 5353, server.ip4, PORT, question), (server.ip4, 0))
                    await asyncio.sleep(0)
                await until_read(service, 200)
                received = sum(map(len, waiting(hit)))
                assert 0 < received <= sent
                assert service.withheld > 0
                figures(
                    f"forged sender, service that answers 100 x: {sent:,} bytes sent, {received:,} reached the victim "
                    f"({received / sent:.2f} x), {service.withheld:,} answers withheld"
                )
            serving.cancel()

    run(main())


@pytest.mark.privileged
@pytest.mark.slow
def test_a_service_below_1024_is_not_hit(run: Run, hosts: Network) -> None:
    """No answer goes to a port of the system's services, which may answer it."""
    server, victim, attacker = hosts["server"], hosts["victim"], hosts["attacker"]

    async def main() -> None:
        async with await bound(server, f"udp://{server.ip4}:{PORT}?plaintext=yes") as service:
            serving = asyncio.ensure_future(echo(service))
            with plain(victim, 53) as hit, forging(attacker) as forger:
                for _ in range(20):
                    forger.sendto(forged(victim.ip4, 53, server.ip4, PORT, b"x"), (server.ip4, 0))
                await until_read(service, 20)
                assert waiting(hit) == []
                assert service.withheld == 20
            serving.cancel()

    run(main())


@pytest.mark.privileged
@pytest.mark.slow
def test_two_echoes_do_not_answer_each_other_for_ever(run: Run, hosts: Network, figures: Callable[[str], None]) -> None:
    """One forged datagram, and both are quiet (CVE-2024-2169)."""
    one, other, attacker = hosts["server"], hosts["victim"], hosts["attacker"]

    async def main() -> None:
        async with (
            await bound(one, f"udp://{one.ip4}:{PORT}?plaintext=yes") as first,
            await bound(other, f"udp://{other.ip4}:{PORT}?plaintext=yes") as second,
        ):
            echoes = [asyncio.ensure_future(echo(service)) for service in (first, second)]
            with forging(attacker) as forger:
                forger.sendto(forged(other.ip4, PORT, one.ip4, PORT, b"round and round"), (one.ip4, 0))
                await until_read(first, 1)
                await asyncio.sleep(0.1)  # a loop would go round thousands of times
            counts = [service.stats["received_messages"] for service in (first, second)]
            assert counts == [1, 0]
            assert first.withheld == 1
            for task in echoes:
                task.cancel()
            figures("two echo services, one forged datagram: it was received once, and answered by nobody")

    run(main())


@pytest.mark.privileged
@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[13], [20] * 5, [1, 2, 30, 400]], ids=["one", "run", "several"])
def test_a_loop_of_services_that_look_like_clients_ends(
    run: Run, hosts: Network, figures: Callable[[str], None], sizes: list[int]
) -> None:
    """Two echoes on different ports, and forged datagrams of which no two are alike."""
    one, other, attacker = hosts["server"], hosts["victim"], hosts["attacker"]

    async def main() -> None:
        async with (
            await bound(one, f"udp://{one.ip4}:{PORT}?plaintext=yes") as first,
            await bound(other, f"udp://{other.ip4}:{PORT + 1}?plaintext=yes") as second,
        ):
            echoes = [asyncio.ensure_future(echo(service)) for service in (first, second)]
            with forging(attacker) as forger:
                for number, size in enumerate(sizes):
                    forger.sendto(forged(other.ip4, PORT + 1, one.ip4, PORT, b"%d" % number * size), (one.ip4, 0))
            async with asyncio.timeout(20):
                while first.withheld + second.withheld < len(sizes):
                    await asyncio.sleep(0.01)
            rounds = first.stats["received_messages"]
            with plain(attacker) as client:  # nobody else has missed anything
                client.sendto(b"hello", (one.ip4, PORT))
                answer = await asyncio.get_running_loop().run_in_executor(None, client.recv, 2000)
            assert answer == b"hello"
            assert first.stats["received_messages"] == rounds + 1, "something still goes round"
            assert first.withheld + second.withheld == len(sizes)
            for task in echoes:
                task.cancel()
            figures(f"two echo services, {len(sizes)} forged: quiet after {rounds:,} rounds")

    run(main())


# --- the same, of a bench


@pytest.mark.privileged
@pytest.mark.slow
def test_junk_gets_no_reply_from_a_bench(hosts: Network, figures: Callable[[str], None]) -> None:
    """1,000 datagrams that are no requests; a request is answered all the same."""
    server, attacker = hosts["server"], hosts["attacker"]
    with bench(server), plain(attacker) as sender:
        for number in range(1000):
            junk = os.urandom(number % 1400) if number % 4 else BENCH_JUNK[number // 4 % len(BENCH_JUNK)]
            sender.sendto(junk, (server.ip4, PORT))
        sender.settimeout(5)
        sender.sendto(bench_request(), (server.ip4, PORT))
        assert json.loads(sender.recv(2000)).keys() == {"cookie", "id"}
        sender.setblocking(False)
        assert waiting(sender) == []
    figures("1,000 junk datagrams to `serve bench`: 0 replies; the request behind them was answered")


@pytest.mark.privileged
@pytest.mark.slow
def test_a_bench_sends_a_forged_sender_no_more_than_was_sent(hosts: Network, figures: Callable[[str], None]) -> None:
    """Whoever asks for a gigabit in the victim's name; the attacker's own cookie is of no use for that."""
    server, victim, attacker = hosts["server"], hosts["victim"], hosts["attacker"]
    with bench(server), plain(attacker) as asker, plain(victim, 5353) as hit, forging(attacker) as forger:
        asker.settimeout(5)
        asker.sendto(bench_request(), (server.ip4, PORT))
        cookie = json.loads(asker.recv(2000))["cookie"]
        session = bench_session(asker, server, cookie)
        requests = [
            bench_request(),
            bench_request(cookie=cookie),
            bench_request(cookie="0" * 32),
            bench_request(do="join", session=session, direction="down", flow=0, cookie=cookie),
            bench_request(do="probe", session=session, cookie=cookie),
            b"\x02" + bytes(7) + bytes.fromhex(session) + bytes(1000),  # a probe
        ]
        sent = 0
        for number in range(200):
            question = requests[number % len(requests)]
            forger.sendto(forged(victim.ip4, 5353, server.ip4, PORT, question), (server.ip4, 0))
            sent += len(question)
        asker.sendto(bench_request(cookie=cookie, do="start", session=session), (server.ip4, PORT))
        assert "before all of its flows have come" in json.loads(asker.recv(2000))["error"]  # the victim has not joined
        received = sum(map(len, waiting(hit)))
        assert 0 < received <= sent
    figures(
        f"forged sender, `serve bench`: {sent:,} bytes sent, {received:,} reached the victim ({received / sent:.2f} x)"
    )


@contextmanager
def bench(host: Host) -> Iterator[None]:
    """`socketkit serve bench` there, as users start it."""
    words = (sys.executable, "-m", "socketkit", "serve", "bench", f"udp4://{host.ip4}:{PORT}?plaintext=yes")
    server = host.start(*words, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    assert "listening on" in server.stderr.readline()
    yield
    assert server.poll() is None


def bench_request(do: str = "open", **words: object) -> bytes:
    """With room for the answer: nobody is sent more than he has sent."""
    plan = {"seconds": 60.0, "warm_up_seconds": 0.0, "up": False, "down": True, "flows": 1, "message_bytes": 1400}
    request = {"bench": 1, "do": do, "id": 1, "nonce": "n", **words, "pad": "." * 40}
    return json.dumps(request | {"plan": {**plan, "bits_per_second": 1_000_000_000}}).encode()


def bench_session(asker: socket.socket, server: Host, cookie: str) -> str:
    """The test of who has shown his cookie."""
    asker.sendto(bench_request(cookie=cookie), (server.ip4, PORT))
    return str(json.loads(asker.recv(2000))["session"])


async def bound(host: Host, address: str) -> Datagrams:
    with host.entered():
        return await bind(address)


async def echo(service: Datagrams) -> None:
    while True:
        await service.send_many(await service.receive_many())


async def answer_questions(service: Datagrams) -> None:
    async for datagram in service:
        if datagram.data.startswith(b"ask: "):
            await service.answer(datagram, b"yes")


async def answer_much(service: Datagrams, times: int) -> None:
    async for datagram in service:
        for _ in range(times):
            await service.answer(datagram, datagram.data)


async def until_read(service: Datagrams, count: int) -> None:
    """Until its task has received so many and deals with the next."""
    async with asyncio.timeout(5):
        while service.stats["received_messages"] < count:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)  # what it answers crosses the wire


def plain(host: Host, port: int = 0) -> socket.socket:
    with host.entered():
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host.ip4, port))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    return made


def waiting(sock: socket.socket) -> list[bytes]:
    got = []
    while True:
        try:
            got.append(sock.recv(65_536, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return got


def forging(host: Host) -> socket.socket:
    """A socket that sends packets whose header is ours (man 7 raw)."""
    with host.entered():
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def forged(source: str, source_port: int, target: str, target_port: int, data: bytes) -> bytes:
    """An IPv4 packet with a UDP datagram from somebody else. The kernel adds the checksum of the header."""
    length = 8 + len(data)
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses
    return header + struct.pack("!HHHH", source_port, target_port, length, 0) + data


# Beginnings of what services know: DNS, NTP, SNMP, STUN, a QUIC Initial, TLS, and nothing at all.
JUNK = (
    bytes.fromhex("1234010000010000000000000000ff0001"),
    b"\x1b" + bytes(47),
    bytes.fromhex("302602010104067075626c6963a019"),
    bytes.fromhex("000100002112a442") + bytes(12),
    b"\xc0\0\0\0\x01\x08" + bytes(1194),
    b"\x16\x03\x01\x02\0\x01",
    b"",
)
# What begins as a request of a bench does, or as its messages and probes, and is none.
BENCH_JUNK = (
    *JUNK,
    b"{" * 1400,
    b'{"a":' * 280,
    b'{"jsonrpc": "2.0", "method": "list", "id": 1}' + b" " * 100,
    b'{"bench": 1, "do": "open"',
    b"\x01" + bytes(1000),
    b"\x02\x01" + bytes(62),
)
