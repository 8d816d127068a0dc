"""What the way between two hosts does to datagrams: it is too narrow, ends nowhere, loses some, and marks others."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from socketkit import Messages, MessageTooLarge, SocketError, UnreachablePeer, relay, serve
from socketkit.testing import message_pair
from socketkit.testing.claims import started
from tests.conftest import Run
from tests.datagrams_in_namespaces.hosts import at, bound, connected, heard, ip, next_of, plain, raised
from tests.threats.namespaces import Host, Network

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

MakeNetwork = Callable[..., Network]

ANY = {"4": "0.0.0.0", "6": "::"}
FAR = {"4": "10.99.0.1", "6": "fd00:99::1"}
NOWHERE = {"4": "10.99.0.66", "6": "fd00:99::66"}
FORBIDDEN = {"4": "10.99.0.67", "6": "fd00:99::67"}
NARROW_BYTES = 1300
HEADERS = {"4": 28, "6": 48}
SOL_UDP, UDP_SEGMENT = 17, 103


@pytest.fixture
def far(network: MakeNetwork) -> Network:
    """`client` reaches the `server` at FAR by way of the `router`, behind which the path is narrow."""
    hosts = network("client", "router", "server")
    hosts["router"].set(ipv4__ip_forward=1, ipv4__conf__all__send_redirects=0, ipv4__conf__eth0__send_redirects=0)
    hosts["router"].set(ipv6__conf__all__forwarding=1)
    for host in hosts.hosts.values():
        host.set(ipv4__conf__all__rp_filter=0, ipv4__conf__eth0__rp_filter=0)
        host.set(ipv4__icmp_ratelimit=0, ipv6__icmp__ratelimit=0)
    for family, words, bits in (("4", ["ip"], 32), ("6", ["ip", "-6"], 128)):
        add = [*words, "route", "add"]
        near = f"{FAR[family]}/{bits}"
        hosts["server"].run(*words, "addr", "add", near, "dev", "lo", *(["nodad"] if family == "6" else []))
        via = ip(hosts["server"], family)
        hosts["router"].run(*add, near, "via", via, "dev", "eth0", "mtu", "lock", str(NARROW_BYTES))
        hosts["router"].run(*add, "unreachable", f"{NOWHERE[family]}/{bits}")
        hosts["router"].run(*add, "prohibit", f"{FORBIDDEN[family]}/{bits}")
        for target in (FAR, NOWHERE, FORBIDDEN):
            hosts["client"].run(*add, f"{target[family]}/{bits}", "via", ip(hosts["router"], family))
    return hosts


def test_the_mtu_of_a_path_is_named(run: Run, far: Network, family: str) -> None:
    async def main() -> None:
        async with await bound(far["server"], FAR[family]) as server:
            port = server.local.port
            client = await connected(far["client"], FAR[family], port, "fragment=no")
            async with client:
                told = await raised(lambda: client.send(bytes(1400)), MessageTooLarge, SocketError)
                text = str(told).replace(",", "")
                assert str(NARROW_BYTES) in text or str(NARROW_BYTES - HEADERS[family]) in text, text
                assert isinstance(told, MessageTooLarge), told
                assert client.path_mtu_bytes == NARROW_BYTES
                await client.send(bytes(NARROW_BYTES - HEADERS[family]))
                assert len((await next_of(server)).data) == NARROW_BYTES - HEADERS[family]
                with pytest.raises(MessageTooLarge):
                    await client.send(bytes(NARROW_BYTES - HEADERS[family] + 1))

    run(main())


def test_a_train_goes_back_one_by_one_where_the_link_takes_no_segments(run: Run, network: MakeNetwork) -> None:
    """The kernel refuses to cut a run whose segments are larger than the link's packets."""
    host = network("host")["host"]

    async def main() -> None:
        async with await bound(host, "127.0.0.1") as server:
            with plain(host, "4") as sock:
                train = [bytes([number]) * 1200 for number in range(40)]
                control = [(SOL_UDP, UDP_SEGMENT, (1200).to_bytes(2, sys.byteorder))]
                sock.sendmsg([b"".join(train)], control, 0, ("127.0.0.1", server.local.port))
                got = await server.receive_many()
                assert len(got) == 40
                host.run("ip", "link", "set", "lo", "mtu", "900")
                await server.send_many(got)
                assert [sock.recv(2000) for _ in train] == train
                assert server.stats["sent_messages"] == 40

    run(main())


def test_datagrams_are_fragmented_where_they_may(run: Run, far: Network, family: str) -> None:
    async def main() -> None:
        async with (
            await bound(far["server"], FAR[family]) as server,
            await connected(far["client"], FAR[family], server.local.port) as client,
        ):
            # IPv6 routers do not fragment: the first tells the sender how, and is lost.
            for _ in range(200):
                await client.send(bytes(5000))
                try:
                    async with asyncio.timeout(0.05):
                        datagram = await server.receive()
                except TimeoutError:
                    continue
                assert datagram.data == bytes(5000)
                return
            raise AssertionError("nothing arrived")

    run(main())


@pytest.mark.parametrize("where", ["port", "host", "forbidden"])
def test_who_is_unreachable_is_told_by_whom(run: Run, far: Network, family: str, where: str) -> None:
    target = {"port": FAR, "host": NOWHERE, "forbidden": FORBIDDEN}[where][family]
    by = target if where == "port" else ip(far["router"], family)

    async def main() -> None:
        async with await connected(far["client"], target, 7000) as client:
            with pytest.raises(UnreachablePeer) as told:
                async with asyncio.timeout(5):
                    await client.send(b"x")
                    await client.receive()
            check(told.value)
            assert not client.closed
        async with await bound(far["client"], ANY[family]) as caller:
            with pytest.raises(UnreachablePeer) as told:
                async with asyncio.timeout(5):
                    await caller.send(b"x", at(target, 7000))
                    await caller.receive()
            check(told.value)

    def check(told: UnreachablePeer) -> None:
        assert told.endpoint is not None
        assert (told.endpoint.host, told.endpoint.port) == (target, 7000)
        assert by in str(told), f"{told} does not say that {by} said so"
        assert told.transient

    run(main())


def test_a_server_is_not_stopped_by_what_is_unreachable(run: Run, far: Network, family: str) -> None:
    """Who asks and is gone when the answer comes costs a counter."""

    async def main() -> None:
        async with await bound(far["server"], ANY[family]) as server:
            where = (ip(far["server"], family), server.local.port)
            for _ in range(5):
                with plain(far["client"], family) as asker:
                    asker.sendto(b"question", where)
                    question = await next_of(server)
                await server.answer(question, b"answer")
            with plain(far["client"], family) as last:
                last.sendto(b"the last question", where)
                assert (await next_of(server)).data == b"the last question"
            assert server.unreachable == server.stats["unreachable"] >= 1

    run(main())


def test_what_is_lost_on_the_way_is_lost(run: Run, network: MakeNetwork, program: Callable[[str], str]) -> None:
    """A firewall drops every third: what arrives is whole and in order, and `dropped` counts our own queue only."""
    hosts = network("sender", "receiver")

    async def main() -> None:
        async with (
            await bound(hosts["receiver"], hosts["receiver"].ip4) as receiver,
            await bound(hosts["sender"], hosts["sender"].ip4) as sender,
        ):
            rules = (
                "add table inet loss",
                "add chain inet loss input { type filter hook input priority 0 ; }",
                f"add rule inet loss input udp dport {receiver.local.port} numgen inc mod 3 == 0 drop",
            )
            hosts["receiver"].run(program("nft"), "; ".join(rules))
            where = at(hosts["receiver"].ip4, receiver.local.port)
            got = []
            for start in range(0, 90, 30):
                for number in range(start, start + 30):  # not in a run, which the kernel would drop as one
                    await sender.send(b"%d" % number, where)
                got += [int((await next_of(receiver)).data) for _ in range(20)]
            assert len(got) == 60
            assert got == sorted(set(got))
            assert receiver.dropped == 0

    run(main())


def test_what_a_full_buffer_loses_is_counted(run: Run, network: MakeNetwork, family: str) -> None:
    """1,200 bytes and more each, to who does not read: the kernel's count is ours, across a wire."""
    hosts = network("sender", "receiver")
    # More than its buffer holds, and less than may wait for a busy processor (netdev_max_backlog: 1,000), where what is
    # lost is counted by no socket.
    count = 500

    async def main() -> None:
        address = ip(hosts["receiver"], family)
        async with (
            await bound(hosts["receiver"], address) as receiver,
            await connected(hosts["sender"], address, receiver.local.port) as sender,
        ):
            # Each larger than the one before: the kernel would join equal ones into runs, and count a lost run as one.
            for _ in range(count // 50):
                await sender.send_many([bytes(1200 + more) for more in range(50)])
            received = 0
            async with asyncio.timeout(5):
                while received + receiver.dropped < count:
                    try:
                        async with asyncio.timeout(0.1):
                            received += len(await receiver.receive_many())
                    except TimeoutError:
                        await sender.send(b"the kernel tells the count with what it has room for")
                        received -= 1
            # Each of ours that asked for the count arrived, and took one off.
            while True:
                try:
                    async with asyncio.timeout(0.1):
                        received += len(await receiver.receive_many())
                except TimeoutError:
                    break
            assert receiver.dropped > 0
            assert received + receiver.dropped == count
            counted = hosts["receiver"].run("cat", f"/proc/net/udp{'6' if family == '6' else ''}").splitlines()
            port = f":{receiver.local.port:04X}"
            (line,) = [line for line in counted if line.split()[1:2] and line.split()[1].endswith(port)]
            assert int(line.split()[-1]) == receiver.dropped

    run(main())


def test_what_a_full_interface_loses_is_counted(
    run: Run, network: MakeNetwork, family: str, program: Callable[[str], str]
) -> None:
    """Its queue takes 600 bytes: what is larger is lost at once, and nobody waits for room that the socket has."""
    hosts = network("sender", "receiver")
    hosts["sender"].run(program("tc"), "qdisc", "add", "dev", "eth0", "root", "bfifo", "limit", "600")
    mixed = [bytes(700), bytes(701), b"", b"small"]  # each larger or nothing: they are no run
    run_of_large = [bytes(700)] * 10  # which the kernel takes or loses as one

    async def main() -> None:
        address = ip(hosts["receiver"], family)
        async with (
            await bound(hosts["receiver"], address) as receiver,
            await bound(hosts["sender"], ip(hosts["sender"], family)) as sender,
            await connected(hosts["sender"], address, receiver.local.port) as peer,
        ):
            where = at(address, receiver.local.port)
            async with asyncio.timeout(5):
                await sender.send(b"marker", where)  # what waits for its neighbour's address meets no queue yet
                assert await heard(receiver, b"marker") == []
                await sender.send_many(mixed, where)
                await sender.send_many(run_of_large, where)
                await sender.send(bytes(700), where)
                await sender.send(b"marker", where)
                assert await heard(receiver, b"marker") == [b"", b"small"]
                assert (sender.stats["unsent"], sender.stats["sent_messages"]) == (13, 4)
                await peer.send_many(mixed)
                await peer.send_many(run_of_large)
                await peer.send(bytes(700))
                await peer.send(b"marker")
                assert await heard(receiver, b"marker") == [b"", b"small"]
                assert (peer.unsent, peer.sent_messages) == (13, 3)

    run(main())


def test_a_relay_counts_what_a_full_interface_loses(
    run: Run, network: MakeNetwork, family: str, program: Callable[[str], str]
) -> None:
    """What goes to a target by datagrams, and what a peer of its own socket would have been answered."""
    hosts = network("relay", "other")

    async def main() -> None:
        here, there = ip(hosts["relay"], family), ip(hosts["other"], family)
        async with (
            serve("mem://echo", echo, Messages) as server,
            await bound(hosts["other"], there) as other,
            await bound(hosts["relay"], here) as front,
            await connected(hosts["relay"], there, other.local.port) as target,
            message_pair() as (near, far),
        ):
            await front.send(b"marker", at(there, other.local.port))  # the neighbour's address is known from here on
            assert await heard(other, b"marker") == []
            hosts["relay"].run(program("tc"), "qdisc", "add", "dev", "eth0", "root", "bfifo", "limit", "600")
            forwarding, relaying = relay(front, server.local), relay(far, target)
            tasks = [await started(awaited(each)) for each in (forwarding, relaying)]
            await near.send_many([bytes(700), bytes(701), b"", b"small", b"marker"])
            assert await heard(other, b"marker") == [b"", b"small"]
            assert (relaying.unsent, relaying.a_to_b_messages) == (2, 5)
            asked = at(here, front.local.port)
            other.validate(asked)  # it was heard first, and is asked more than it said
            await other.send_many([bytes(700), b"", b"marker"], asked)
            assert await heard(other, b"marker") == [b""]
            assert (forwarding.unsent, forwarding.b_to_a_messages) == (1, 3)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    run(main())


async def echo(messages: Messages) -> None:
    async for message in messages:
        await messages.send(message)


async def awaited(relaying: Awaitable[Any]) -> None:
    await relaying


def test_an_answer_leaves_from_the_address_that_was_asked(run: Run, network: MakeNetwork, family: str) -> None:
    hosts = network("client", "server")
    addresses = own_addresses(hosts["server"], family)

    async def main() -> None:
        async with await bound(hosts["server"], ANY[family]) as server:
            for address in addresses:
                client = await connected(hosts["client"], address, server.local.port)
                async with client:
                    await client.send(b"question")
                    question = await next_of(server)
                    assert question.local is not None
                    assert (question.local.host, question.local.port) == (address, server.local.port)
                    # A connected socket hears its peer only: an answer from another address would be lost.
                    await server.answer(question, b"answer")
                    async with asyncio.timeout(5):
                        assert await client.receive() == b"answer"
                    await client.send(b"again")
                    await server.send_many([await next_of(server)])
                    async with asyncio.timeout(5):
                        assert await client.receive() == b"again"

    run(main())


def test_an_ipv4_peer_of_an_ipv6_socket_is_an_ipv4_peer(run: Run, network: MakeNetwork) -> None:
    """`*` is one socket for both, and mapped addresses are its own affair."""
    hosts = network("client", "server")

    async def main() -> None:
        with hosts["server"].entered():
            from socketkit import bind

            server = await bind("udp://*:0?plaintext=yes")
        async with server:
            for family in ("4", "6"):
                async with await connected(hosts["client"], ip(hosts["server"], family), server.local.port) as client:
                    await client.send(b"question")
                    question = await next_of(server)
                    assert question.peer is not None
                    assert question.peer.host == ip(hosts["client"], family)
                    await server.answer(question, b"answer")
                    async with asyncio.timeout(5):
                        assert await client.receive() == b"answer"

    run(main())


def test_marks_of_congestion_are_seen(run: Run, network: MakeNetwork, family: str) -> None:
    hosts = network("sender", "receiver")

    async def main() -> None:
        address = ip(hosts["receiver"], family)
        async with await bound(hosts["receiver"], address) as receiver:
            with plain(hosts["sender"], family) as sender:
                for mark in (0, 1, 2, 3):
                    tos = mark | 0x28  # the upper six bits are something else
                    if family == "4":
                        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
                    else:
                        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos)
                    sender.sendto(b"marked", (address, receiver.local.port))
                    assert (await next_of(receiver)).ecn == mark

    run(main())


def test_the_kernel_says_when_they_came(run: Run, network: MakeNetwork, family: str) -> None:
    """Not when they were read: some wait in the queue meanwhile."""
    hosts = network("sender", "receiver")

    async def main() -> None:
        address = ip(hosts["receiver"], family)
        async with (
            await bound(hosts["receiver"], address) as receiver,
            await connected(hosts["sender"], address, receiver.local.port) as sender,
        ):
            # The kernel begins to take times a moment after the first socket of the machine asks for them.
            await sender.send(b"first")
            await next_of(receiver)
            await asyncio.sleep(0.05)
            before = time.time_ns()
            await sender.send_many([b"%d" % number for number in range(10)])
            after = time.time_ns()
            await asyncio.sleep(0.1)
            times = [(await next_of(receiver)).timestamp_ns for _ in range(10)]
            assert None not in times
            stamps = [stamp for stamp in times if stamp is not None]
            slack = 50_000_000
            assert before - 1_000_000 <= stamps[0] <= stamps[-1] <= after + slack
            assert stamps == sorted(stamps)

    run(main())


def own_addresses(host: Host, family: str) -> list[str]:
    """Three of one interface."""
    if family == "4":
        return [host.ip4, *host.take_sources(2)]
    more = [f"fd00:77::77:{number}" for number in (1, 2)]
    for address in more:
        host.run("ip", "addr", "add", f"{address}/64", "dev", "eth0", "nodad")
    return [host.ip6, *more]
