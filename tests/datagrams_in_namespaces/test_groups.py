"""Multicast and broadcast across a wire: who has joined hears, and nobody else."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from socketkit import Datagram, Endpoint, SocketError
from tests.conftest import Run
from tests.datagrams_in_namespaces.hosts import at, bound, heard, ip, join_by_wire, next_of, until_heard
from tests.threats.namespaces import Network

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

MakeNetwork = Callable[..., Network]

GROUPS = {"4": "239.77.0.1", "6": "ff15::7777"}  # administratively scoped, RFC 2365; transient and site-local, RFC 4291
SOURCE_SPECIFIC = {"4": "232.77.0.1", "6": "ff35::7777"}  # RFC 4607
ANY = {"4": "0.0.0.0", "6": "::"}


def test_who_has_joined_hears(run: Run, network: MakeNetwork, family: str) -> None:
    hosts = network("talker", "member", "bystander")

    async def main() -> None:
        async with AsyncExitStack() as stack:
            talker = await stack.enter_async_context(
                await bound(hosts["talker"], ip(hosts["talker"], family), 0, "interface=eth0")
            )
            member = await stack.enter_async_context(await bound(hosts["member"], ANY[family]))
            port = member.local.port
            bystander = await stack.enter_async_context(await bound(hosts["bystander"], ANY[family], port or 0))
            group = at(GROUPS[family], port)
            with hosts["member"].entered():
                member.join(GROUPS[family], interface="eth0")
            await talker.send(b"to members", group)
            datagram = await next_of(member)
            assert datagram.data == b"to members"
            assert datagram.peer is not None
            assert (datagram.peer.host, datagram.peer.port) == (ip(hosts["talker"], family), talker.local.port)
            assert datagram.local is not None
            assert datagram.local.host == GROUPS[family]
            with hosts["member"].entered():
                member.leave(GROUPS[family], interface="eth0")
            await talker.send(b"after the member has left", group)
            for host, receiver in (("member", member), ("bystander", bystander)):
                await talker.send(b"marker", at(ip(hosts[host], family), port))
                assert await heard(receiver, b"marker") == []

    run(main())


@pytest.mark.parametrize("both", [False, True], ids=["one version", "both versions"])
def test_a_member_answers_from_its_own_address(run: Run, network: MakeNetwork, family: str, both: bool) -> None:
    """The group that it was asked by is no address to send from."""
    hosts = network("asker", "member")

    async def main() -> None:
        async with (
            await bound(hosts["asker"], ip(hosts["asker"], family), 0, "interface=eth0") as asker,
            await bound(hosts["member"], "*" if both else ANY[family]) as member,
        ):
            with hosts["member"].entered():
                member.join(GROUPS[family], interface="eth0")
            group = at(GROUPS[family], member.local.port)
            await until_heard(member, lambda: asker.send(b"who is there?", group))
            for _ in range(4):
                await asker.send(b"who is there?", group)
                question = await next_of(member)
                assert question.local is not None
                assert (question.local.host, question.local.port) == (GROUPS[family], member.local.port)
            await member.answer(question, b"I am")
            await member.send_many([question])
            await member.send_many([Datagram(b"am I?", question.peer, question.local)])
            written = Endpoint.parse(str(question.local))  # by the application itself
            await member.send_many([Datagram(b"am not", question.peer, written)])
            for wanted in (b"I am", b"who is there?", b"am I?", b"am not"):
                answer = await next_of(asker)
                assert answer.peer is not None
                assert (answer.data, answer.peer.host) == (wanted, ip(hosts["member"], family))
                assert answer.peer.port == member.local.port

    run(main())


def test_a_source_specific_member_hears_that_source_only(run: Run, network: MakeNetwork, family: str) -> None:
    hosts = network("wanted", "other", "member")

    async def main() -> None:
        async with (
            await bound(hosts["wanted"], ip(hosts["wanted"], family), 0, "interface=eth0") as wanted,
            await bound(hosts["other"], ip(hosts["other"], family), 0, "interface=eth0") as other,
            await bound(hosts["member"], ANY[family]) as member,
        ):
            port, source = member.local.port, ip(hosts["wanted"], family)
            group = at(SOURCE_SPECIFIC[family], port)
            with hosts["member"].entered():
                member.join(SOURCE_SPECIFIC[family], interface="eth0", source=source)
            await other.send(b"from another", group)
            await wanted.send(b"from the one", group)
            await other.send(b"marker", at(ip(hosts["member"], family), port))
            async with asyncio.timeout(5):
                got = {(await member.receive()).data for _ in range(2)}
            assert got == {b"from the one", b"marker"}
            with hosts["member"].entered():
                member.leave(SOURCE_SPECIFIC[family], interface="eth0", source=source)
            await wanted.send(b"after it has left", group)
            await wanted.send(b"marker", at(ip(hosts["member"], family), port))
            assert await heard(member, b"marker") == []

    run(main())


def test_the_interface_is_chosen(run: Run, network: MakeNetwork) -> None:
    """Two wires between two hosts: it is sent on the one that is named, and heard on the one that was joined."""
    hosts = network("talker", "member")
    join_by_wire(hosts["talker"], hosts["member"], "eth1", "10.78.0")

    async def main() -> None:
        async with AsyncExitStack() as stack:
            member = await stack.enter_async_context(await bound(hosts["member"], "0.0.0.0"))
            group = at(GROUPS["4"], member.local.port)
            with hosts["member"].entered():
                member.join(GROUPS["4"], interface="eth1")
            for interface in ("eth0", "eth1"):
                talker = await stack.enter_async_context(
                    await bound(hosts["talker"], "0.0.0.0", 0, f"interface={interface}")
                )
                await talker.send(f"by {interface}".encode(), group)
            datagram = await next_of(member)
            assert datagram.data == b"by eth1"
            assert datagram.peer is not None
            assert datagram.peer.host == "10.78.0.1"

    run(main())


def test_own_multicast_is_heard_unless_it_must_not(run: Run, network: MakeNetwork, family: str) -> None:
    host = network("host")["host"]

    async def main() -> None:
        async with (
            await bound(host, ANY[family]) as member,
            await bound(host, ip(host, family), 0, "interface=eth0", "loop=no") as silent,
            await bound(host, ip(host, family), 0, "interface=eth0") as loud,
        ):
            with host.entered():
                member.join(GROUPS[family], interface="eth0")
            group = at(GROUPS[family], member.local.port)
            await silent.send(b"silent", group)
            await loud.send(b"loud", group)
            assert (await next_of(member)).data == b"loud"

    run(main())


def test_a_group_that_is_none_is_refused(run: Run, network: MakeNetwork, family: str) -> None:
    host = network("host")["host"]
    not_a_group = {"4": "10.77.0.9", "6": "fd00:77::9"}[family]

    async def main() -> None:
        async with await bound(host, ANY[family]) as member:
            with host.entered():
                with pytest.raises(ValueError, match="multicast"):
                    member.join(not_a_group)
                with pytest.raises((SocketError, ValueError), match="nosuch0"):
                    member.join(GROUPS[family], interface="nosuch0")
                with pytest.raises((SocketError, ValueError)):
                    member.leave(GROUPS[family], interface="eth0")  # never joined

    run(main())


@pytest.mark.parametrize("address", ["0.0.0.0", "*"])
def test_broadcast_must_be_written(run: Run, network: MakeNetwork, address: str) -> None:
    hosts = network("talker", "listener")

    async def main() -> None:
        async with (
            await bound(hosts["listener"], address) as listener,
            await bound(hosts["talker"], hosts["talker"].ip4, 0, "broadcast=yes") as loud,
            await bound(hosts["talker"], hosts["talker"].ip4) as plain,
        ):
            everybody = at("10.77.255.255", listener.local.port)
            with pytest.raises(SocketError, match="broadcast=yes"):
                await plain.send(b"refused", everybody)
            await loud.send(b"to everybody", everybody)
            datagram = await next_of(listener)
            assert datagram.data == b"to everybody"
            assert datagram.local is not None
            assert datagram.local.host == "10.77.255.255"
            # An answer to a broadcast leaves from the host's own address.
            await listener.answer(datagram, b"heard")
            await listener.send_many([Datagram(b"yes", datagram.peer, datagram.local)])
            for wanted in (b"heard", b"yes"):
                answer = await next_of(loud)
                assert answer.peer is not None
                assert (answer.data, answer.peer.host) == (wanted, hosts["listener"].ip4)

    run(main())


def test_socat_is_in_a_group_with_us(run: Run, network: MakeNetwork, program: Callable[[str], str]) -> None:
    """It hears what we send to the group, and we what it sends there."""
    hosts = network("ours", "theirs")

    async def main() -> None:
        async with (
            await bound(hosts["ours"], "0.0.0.0") as member,
            await bound(hosts["ours"], hosts["ours"].ip4, 0, "interface=eth0", "loop=no") as talker,
        ):
            port = member.local.port
            with hosts["ours"].entered():
                member.join(GROUPS["4"], interface="eth0")
            words = f"UDP4-DATAGRAM:{GROUPS['4']}:{port},bind=:{port},ip-add-membership={GROUPS['4']}:eth0"
            words += ",ip-multicast-if=" + hosts["theirs"].ip4 + ",ip-multicast-loop=0"
            socat = hosts["theirs"].start(
                program("socat"), "STDIO", words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
            assert socat.stdin is not None
            assert socat.stdout is not None
            socat.stdin.write(b"from socat")  # it has joined before it reads
            datagram = await next_of(member)
            assert datagram.data == b"from socat"
            assert datagram.peer is not None
            assert (datagram.peer.host, datagram.peer.port) == (hosts["theirs"].ip4, port)
            await talker.send(b"from us", at(GROUPS["4"], port))
            assert await asyncio.to_thread(socat.stdout.read, 7) == b"from us"

    run(main())
