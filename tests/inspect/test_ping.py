"""`ping` on real sockets: loopback, and chains of namespaces with loss, refusals and a whole network."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable

import pytest

from socketkit import EndOfStream
from socketkit.inspect import targets
from socketkit.inspect.ping import Reply, TargetError, Unsent, ping
from tests.conftest import Run
from tests.inspect.chain import Chain
from tests.inspect.conftest import Ours

pytestmark = pytest.mark.privileged


def test_loopback(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        pinging = ping(["127.0.0.1", "::1", "localhost"], count=2, interval_seconds=0.2)
        async with pinging:
            events = [event async for event in pinging]
        assert len(events) == 6
        assert all(isinstance(event, Reply) and 0 < event.rtt_seconds < 10 and not event.corrupted for event in events)
        assert [host.received for host in pinging.hosts] == [2, 2, 2]
        assert 0.2 <= pinging.seconds < 10

    run(main())


def test_awaited(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        hosts = await ping("127.0.0.1", count=1)
        assert [(host.host, host.received) for host in hosts] == [("127.0.0.1", 1)]

    run(main())


def test_forever_until_stopped(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        async with ping("127.0.0.1", count=None, interval_seconds=0, flood=True) as pinging:
            async for event in pinging:
                assert isinstance(event, Reply)
                if event.sequence == 50:
                    pinging.stop()
            with pytest.raises(EndOfStream):
                await pinging.receive()
        assert pinging.hosts[0].received == 50

    run(main())


def test_stopped_while_it_waits(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        async with ping("127.0.0.1", count=None, interval_seconds=60) as pinging:
            await pinging.receive()
            waiting = asyncio.ensure_future(pinging.receive())
            await asyncio.sleep(0)
            pinging.stop()
            with pytest.raises(EndOfStream):
                await waiting

    run(main())


def test_cancelled_while_it_waits(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        async with ping("127.0.0.1", count=2, interval_seconds=0.3) as pinging:
            await pinging.receive()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await pinging.receive()
            event = await pinging.receive()
            assert isinstance(event, Reply)
            assert event.sequence == 2

    run(main())


def test_name_without_address_and_name_server_that_is_silent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(host: str, family: int | None = None) -> targets.Target:
        if host == "silent.test":
            await asyncio.sleep(60)
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(targets, "resolve", resolve)
    monkeypatch.setattr("socketkit.inspect.probing.RESOLVE_SECONDS", 0.05)

    async def main() -> None:
        async with ping(["nowhere.test", "silent.test", "127.0.0.1"]) as pinging:
            events = {event.host: event async for event in pinging}
        assert events["nowhere.test"] == Unsent("nowhere.test", "", 0, "name or service not known")
        unresolved = events["silent.test"]
        assert isinstance(unresolved, Unsent)
        assert "no name server answered" in unresolved.reason
        assert isinstance(events["127.0.0.1"], Reply)
        assert len(pinging.hosts) == 3

    run(main())


def test_names_are_resolved_while_others_are_asked(run: Run, monkeypatch: pytest.MonkeyPatch, no_leaks: None) -> None:
    async def resolve(host: str, family: int | None = None) -> targets.Target:
        await asyncio.sleep(60)
        raise AssertionError

    monkeypatch.setattr(targets, "resolve", resolve)

    async def main() -> None:
        async with ping([f"slow{number}.test" for number in range(100)] + ["127.0.0.1"]) as pinging:
            assert isinstance(await pinging.receive(), Reply)

    run(main())


@pytest.mark.parametrize(
    ("options", "words"),
    [({"hops": 0}, "hops"), ({"hops": 256}, "hops"), ({"interval_seconds": 0.1}, "flood"), ({"count": 0}, "count")],
)
def test_what_is_refused(options: dict[str, float], words: str) -> None:
    with pytest.raises(TargetError, match=words):
        ping("127.0.0.1", **options)  # type: ignore[arg-type]


# --- on a chain


@pytest.mark.slow
@pytest.mark.parametrize("privileged", [True, False], ids=["raw", "unprivileged"])
def test_same_as_iputils(chain: Chain, ours: Ours, program: Callable[[str], str], privileged: bool) -> None:
    if not privileged:
        chain.near.run("sysctl", "-q", "-w", "net.ipv4.ping_group_range=0 2147483647")
    for target in (chain.target, chain.target6):
        theirs = chain.near.run(program("ping"), "-c", "3", "-i", "0.2", target)
        done = ours(chain.near, "ping", "--json", "-c", "3", "-i", "0.2", target, privileged=privileged)
        assert (done.returncode, done.stderr) == (0, "")
        *events, summary = map(json.loads, done.stdout.splitlines())
        (ttl,) = {int(found) for found in re.findall(r"ttl=(\d+)", theirs)}
        assert [event["hops_left"] for event in events] == [ttl] * 3
        assert "3 received, 0% packet loss" in theirs
        (host,) = summary["hosts"]
        assert (host["transmitted"], host["received"], host["loss"]) == (3, 3, 0)
        assert 0 < host["rtt_seconds"]["min"] <= host["rtt_seconds"]["average"] <= host["rtt_seconds"]["max"] < 10


@pytest.mark.slow
def test_without_permission(chain: Chain, ours: Ours) -> None:
    chain.near.run("sysctl", "-q", "-w", "net.ipv4.ping_group_range=1 0")
    done = ours(chain.near, "ping", "-c", "1", chain.target, privileged=False)
    assert done.returncode == 2
    assert "net.ipv4.ping_group_range" in done.stderr
    assert "CAP_NET_RAW" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("privileged", [True, False], ids=["raw", "unprivileged"])
def test_who_refuses_and_why(chain: Chain, ours: Ours, privileged: bool) -> None:
    if not privileged:
        chain.near.run("sysctl", "-q", "-w", "net.ipv4.ping_group_range=0 2147483647")
    _, second, _ = chain.routers
    chain.filter(
        second,
        f"ip daddr {chain.target} reject with icmp admin-prohibited",
        f"ip6 daddr {chain.target6} reject with icmpv6 admin-prohibited",
    )
    for target, nearest, router, nobody in (
        (chain.target, chain.hop(1), chain.hop(2), "10.88.3.99"),
        (chain.target6, chain.hop6(1), chain.hop6(2), "fd00:88:3::99"),
    ):
        done = ours(chain.near, "ping", "-c", "1", target, privileged=privileged)
        assert done.returncode == 1
        assert f"no reply 1 from {target}: {router} says: administratively prohibited" in done.stdout
        done = ours(chain.near, "ping", "-c", "1", "--hops", "1", target, privileged=privileged)
        assert f"no reply 1 from {target}: {nearest} says: hop limit exceeded" in done.stdout
        done = ours(chain.near, "ping", "-c", "1", "-W", "8", nobody, privileged=privileged)
        assert done.returncode == 1
        assert re.search(r"says: (host|address) unreachable", done.stdout), done.stdout


@pytest.mark.slow
def test_loss_is_counted(chain: Chain, ours: Ours) -> None:
    chain.filter(chain.routers[1], "icmp type echo-request numgen inc mod 2 == 1 drop")
    words = ("ping", "--json", "--flood", "-i", "0.02", "-c", "10", "-W", "0.5", chain.target)
    done = ours(chain.near, *words)
    assert done.returncode == 0
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["hosts"][0]["received"] == 5
    assert done.stdout.count('"event": "lost"') == 5


@pytest.mark.slow
def test_large_payload_in_fragments(chain: Chain, ours: Ours) -> None:
    # The first one may be lost: neighbours that are still being looked for take only some of its fragments.
    done = ours(chain.near, "ping", "--json", "-c", "2", "-i", "0.3", "-s", "60000", chain.target, chain.target6)
    *events, _ = map(json.loads, done.stdout.splitlines())
    replies = [event for event in events if event["event"] == "reply"]
    assert {event["address"] for event in replies} == {chain.target, chain.target6}
    assert all((event["payload_bytes"], event["corrupted"]) == (60_000, "") for event in replies)


@pytest.mark.slow
def test_sweep_of_a_network(chains: Callable[[int], Chain], ours: Ours) -> None:
    chain = chains(0)
    for last in range(3, 253):
        chain.far.run("ip", "addr", "add", f"10.88.0.{last}/24", "dev", "left")
    done = ours(chain.near, "ping", "--json", "10.88.0.0/24", "-W", "1")
    assert done.returncode == 0
    *events, summary = map(json.loads, done.stdout.splitlines())
    answered = {event["address"] for event in events if event["event"] == "reply"}
    assert answered == {f"10.88.0.{last}" for last in range(1, 253)}
    assert len(summary["hosts"]) == 254
    table = ours(chain.near, "ping", "10.88.0.0/24", "-W", "1").stdout
    assert table.splitlines()[-1].startswith("254 hosts: 252 answered, 2 did not, in ")
    assert "10.88.0.253" not in table
