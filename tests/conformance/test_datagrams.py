"""Every rule of `socketkit.testing` for every type of datagrams, and those that need a peer of a certain port."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

import pytest

from socketkit import Datagram, Datagrams, Endpoint, SocketError, bind
from socketkit.testing import check_datagrams, check_rule, datagram_pair, datagram_rules
from socketkit.testing.claims import RuleOf, started, turns, until
from socketkit.testing.datagrams import answers, exchange
from tests.conformance.message_transports import DATAGRAMS, make_datagrams
from tests.conftest import Run

CASES = [
    pytest.param(rule, name, id=f"{rule.__name__}-{name}")  # type: ignore[attr-defined]
    for name, found in DATAGRAMS.items()
    for rule in datagram_rules(lossy=found.lossy)
]


@pytest.mark.parametrize(("rule", "name"), CASES)
def test_rule(rule: RuleOf[Datagrams], name: str, run: Run, tmp_path: Path, no_leaks: None) -> None:
    run(check_rule(rule, make_datagrams(name, tmp_path)), seconds=60)


@pytest.mark.slow
def test_check_datagrams_checks_them_all(run: Run, no_leaks: None) -> None:
    run(check_datagrams(datagram_pair), seconds=50)


@pytest.mark.parametrize("rule", [*exchange.RULES, *answers.RULES], ids=lambda rule: rule.__name__)
def test_rule_in_debug_mode(rule: RuleOf[Datagrams], tmp_path: Path) -> None:
    with asyncio.Runner(debug=True) as runner:
        runner.run(check_rule(rule, make_datagrams("udp4", tmp_path)))


def test_a_peer_with_our_own_port_gets_no_answer(run: Run, caplog: pytest.LogCaptureFixture, no_leaks: None) -> None:
    """Two such servers would answer one forged datagram for ever (CVE-2024-2169)."""

    async def main() -> None:
        async with bind("udp://127.0.0.1:0") as server:
            with peer_at("127.0.0.2", server.local.port or 0) as peer:
                peer.sendto(b"question", ("127.0.0.1", server.local.port))
                question = await server.receive()
                with caplog.at_level(logging.WARNING, "socketkit"):
                    for _ in range(5):
                        await server.answer(question, b"answer")
                        await server.send(b"answer", question.peer or "")
                        await server.send_many([question])
                assert server.withheld == 15
                assert received(peer) == []
                # Whom we call first is no forger: a tracker, or a peer of a game.
                async with bind("udp://127.0.0.3:0") as caller:
                    await caller.send(b"called first", f"udp://127.0.0.2:{server.local.port}")
                    assert received(peer) == [b"called first"]

    run(main())
    lines = [record.getMessage() for record in caplog.records if "withheld" in record.getMessage()]
    assert len(lines) == 1, "one line in ten seconds"


@pytest.mark.privileged
def test_a_peer_below_port_1024_gets_no_answer(run: Run, no_leaks: None) -> None:
    """A forged question must not make us talk to somebody's DNS, NTP or SNMP."""

    async def main() -> None:
        with peer_at("127.0.0.2", free_low_port()) as peer:
            async with bind("udp://127.0.0.1:0") as server:
                peer.sendto(b"question", ("127.0.0.1", server.local.port))
                await server.answer(await server.receive(), b"answer")
                assert server.withheld == 1
                assert received(peer) == []
            async with bind("udp://127.0.0.1:0") as client:
                where = f"udp://127.0.0.2:{peer.getsockname()[1]}"
                await client.send(b"question", where)
                assert received(peer) == [b"question"]
                peer.sendto(b"answer", ("127.0.0.1", client.local.port))
                assert (await client.receive()).data == b"answer"
                await client.send(bytes(1000), where)
                assert received(peer) == [bytes(1000)]
                assert client.withheld == 0

    run(main())


@pytest.mark.slow
def test_a_flood_of_senders_does_not_lift_the_bound_of_answers(run: Run, no_leaks: None) -> None:
    """The table of peers is bounded: who is forgotten while his question waits was no less somebody who called."""

    async def main() -> None:
        async with bind("udp://127.0.0.1:0") as server:
            with peer_at("127.0.0.2", 0) as asker:
                asker.sendto(b"question", ("127.0.0.1", server.local.port))
                question = await server.receive()
                with peer_at("0.0.0.0", 0) as crowd:
                    for number in range(34_000):  # more than twice as many as the table has places
                        source = bytes((127, 77, number >> 8, number & 255))
                        info = [(socket.IPPROTO_IP, IP_PKTINFO, bytes(4) + source + bytes(4))]
                        crowd.sendmsg([b""], info, 0, ("127.0.0.1", server.local.port or 0))
                        if number % 50 == 49:
                            await server.receive_many()
                for _ in range(3):
                    await server.answer(question, bytes(1000))
                await server.answer(question, b"answer")
                assert received(asker) == [b"answer"]
                assert server.withheld == 3

    run(main(), seconds=30)


def test_no_host_is_both_loopback_addresses(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        async with bind("udp://:0") as server:
            for host in ("127.0.0.1", "[::1]"):
                async with bind(f"udp://{host}:0") as client:
                    await client.send(b"question", f"udp://{host}:{server.local.port}")
                    question = await server.receive()
                    assert question.peer == client.local
                    await server.answer(question, b"answer")
                    answer = await client.receive()
                    assert answer.peer is not None
                    assert (answer.data, answer.peer.host) == (b"answer", host.strip("[]"))

    run(main())


def test_a_unix_peer_without_a_name_has_none(run: Run, tmp_path: Path, no_leaks: None) -> None:
    async def main() -> None:
        async with bind(f"dgram+unix://{tmp_path}/socket") as server:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
                nameless.sendto(b"from nobody", f"{tmp_path}/socket")
                datagram = await server.receive()
                assert (datagram.data, datagram.peer) == (b"from nobody", None)
                with pytest.raises(ValueError, match="no name"):
                    await server.answer(datagram, b"to nobody")

    run(main())


def test_a_peer_that_has_gone_costs_the_others_nothing(run: Run, tmp_path: Path, no_leaks: None) -> None:
    """Of a list that had to wait for room; who sends next is told."""

    async def main() -> None:
        async with bind(f"dgram+unix://{tmp_path}/ours") as ours, bind(f"dgram+unix://{tmp_path}/other") as other:
            goes = await bind(f"dgram+unix://{tmp_path}/goes")
            filling = await started(fill_queue(ours, goes.local))
            await turns(5)
            filling.cancel()
            to_both = [Datagram(b"lost", goes.local), Datagram(b"1", other.local), Datagram(b"2", other.local)]
            await ours.send_many(to_both)
            await goes.aclose()
            async with asyncio.timeout(5):
                assert [(await other.receive()).data for _ in range(2)] == [b"1", b"2"]
            with pytest.raises(SocketError) as told:
                await ours.send(b"not sent", other.local)
            assert told.value.endpoint == goes.local
            await ours.send(b"sent", other.local)
            assert (await other.receive()).data == b"sent"

    run(main())


async def fill_queue(ours: Datagrams, where: Endpoint) -> None:
    for _ in range(1000):
        await ours.send(b"unread", where)


def test_a_name_is_no_receiver(run: Run, no_leaks: None) -> None:
    """A send must not wait for a name to be looked up, nor look it up each time."""

    async def main() -> None:
        async with bind("udp://127.0.0.1:0") as ours:
            with pytest.raises(ValueError, match="address"):
                await ours.send(b"x", "udp://example.org:7")

    run(main())


def test_counters_stay_with_a_socket_that_is_closed(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        async with datagram_pair() as (ours, theirs):
            await ours.send(b"x", theirs.local)
            await theirs.answer(await theirs.receive(), b"too large")
            await theirs.aclose()
            assert theirs.withheld == theirs.stats["withheld"] == 1
            await until(lambda: theirs.closed)

    run(main())


IP_PKTINFO = 8  # linux/in.h; Python 3.11 has no name for it


def peer_at(host: str, port: int) -> socket.socket:
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind((host, port))
    return peer


def received(peer: socket.socket) -> list[bytes]:
    """What has come; on loopback it is there when the call that sent it has returned."""
    got = []
    while True:
        try:
            got.append(peer.recv(65_536, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return got


def free_low_port() -> int:
    for port in range(1023, 600, -1):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.2", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port below 1024 is free")
