"""`trace` on chains of namespaces: what it finds is what is there, and what traceroute and mtr find."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Callable

import pytest

from socketkit.inspect import targets
from socketkit.inspect.trace import Answer, Round, TargetError, Untraced, trace
from tests.conftest import Run
from tests.inspect.chain import Chain
from tests.inspect.conftest import Ours

kinds = pytest.mark.parametrize("kind", ["udp", "tcp", pytest.param("icmp", marks=pytest.mark.privileged)])


@kinds
def test_loopback(kind: str, run: Run, no_leaks: None) -> None:
    async def main() -> None:
        async with trace(["127.0.0.1", "::1"], kind=kind, rounds=2, interval_seconds=0.2) as tracing:
            events = [event async for event in tracing]
        assert [(event.round, event.hops, event.reached) for event in events if isinstance(event, Round)] == [
            *[(1, 1, True)] * 2,
            *[(2, 1, True)] * 2,
        ]
        for route in tracing.routes:
            ((hop,), answers) = (route.hops, [event for event in events if isinstance(event, Answer)])
            assert list(hop.addresses) == [route.address]
            assert (hop.received, hop.lost) == (2, 0)
            assert all(event.reached for event in answers)

    run(main())


def test_awaited_with_names(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        tracing = trace("127.0.0.1", names=True)
        (route,) = await tracing
        assert route.reached
        assert tracing.names == {"127.0.0.1": "localhost"}

    run(main())


def test_name_of_a_hop_cannot_write_to_the_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async def getnameinfo(address: tuple[str, int], flags: int = 0) -> tuple[str, str]:
            return "\x1b[2Jevil", "0"

        monkeypatch.setattr(asyncio.get_running_loop(), "getnameinfo", getnameinfo, raising=False)
        tracing = trace("127.0.0.1", names=True)
        await tracing
        assert tracing.names == {"127.0.0.1": "\N{REPLACEMENT CHARACTER}[2Jevil"}

    asyncio.run(main())


def test_name_without_address(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(host: str, family: int | None = None) -> targets.Target:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(targets, "resolve", resolve)

    async def main() -> None:
        async with trace(["nowhere.test", "127.0.0.1"]) as tracing:
            events = [event async for event in tracing]
        assert Untraced("nowhere.test", "name or service not known") in events
        assert {route.host: route.reached for route in tracing.routes} == {"127.0.0.1": True, "nowhere.test": False}

    run(main())


def test_stopped(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        async with trace("127.0.0.1", rounds=None, interval_seconds=60) as tracing:
            async for event in tracing:
                if isinstance(event, Round):
                    tracing.stop()

    run(main())


@pytest.mark.parametrize(
    ("hosts", "options", "words"),
    [
        ("192.0.2.0/30", {}, "network"),
        ([f"192.0.2.{number}" for number in range(65)], {}, "64 routes"),
        ("192.0.2.1", {"port": 0}, "port"),
        ("192.0.2.1", {"port": 9, "kind": "icmp"}, "no ports"),
        ("192.0.2.1", {"max_hops": 65}, "hops"),
        ("192.0.2.1", {"kind": "tcp", "find_mtu": True}, "MTU"),
    ],
)
def test_what_is_refused(hosts: str | list[str], options: dict[str, int], words: str) -> None:
    with pytest.raises(TargetError, match=words):
        trace(hosts, **options)  # type: ignore[arg-type]


# --- on a chain


def routes(done: subprocess.CompletedProcess[str]) -> dict[str, list[list[str]]]:
    """The addresses of each hop, by host."""
    summary = json.loads(done.stdout.splitlines()[-1])
    return {route["host"]: [hop["addresses"] for hop in route["hops"]] for route in summary["routes"]}


def expected(chain: Chain) -> dict[str, list[list[str]]]:
    last = len(chain.routers) + 1
    return {
        chain.target: [[chain.hop(number)] for number in range(1, last + 1)],
        chain.target6: [[chain.hop6(number)] for number in range(1, last + 1)],
    }


@pytest.mark.slow
@pytest.mark.privileged
@pytest.mark.parametrize("kind", ["--udp", "--icmp", "--tcp"])
def test_without_any_right(kind: str, chain: Chain, ours: Ours) -> None:
    chain.near.run("sysctl", "-q", "-w", "net.ipv4.ping_group_range=0 2147483647")
    words = ("trace", "--json", "-n", "-c", "1", kind, chain.target, chain.target6)
    done = ours(chain.near, *words, privileged=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert routes(done) == expected(chain)


@pytest.mark.slow
@pytest.mark.privileged
def test_icmp_without_permission(chain: Chain, ours: Ours) -> None:
    chain.near.run("sysctl", "-q", "-w", "net.ipv4.ping_group_range=1 0")
    done = ours(chain.near, "trace", "--icmp", chain.target, privileged=False)
    assert done.returncode == 2
    assert "trace: your group may not ping" in done.stderr
    assert "CAP_NET_RAW" in done.stderr


@pytest.mark.slow
@pytest.mark.privileged
def test_same_as_traceroute_and_mtr(chain: Chain, ours: Ours, program: Callable[[str], str]) -> None:
    done = ours(chain.near, "trace", "--json", "-n", "-c", "1", chain.target, chain.target6)
    for target, hops in routes(done).items():
        theirs = chain.near.run(program("traceroute"), "-n", "-q", "1", target)
        assert re.findall(r"^ *\d+ +([\da-f.:]+) ", theirs, re.MULTILINE) == [address for (address,) in hops]
        report = json.loads(chain.near.run(program("mtr"), "-n", "-j", "-c", "1", target))
        assert [hop["host"] for hop in report["report"]["hubs"]] == [address for (address,) in hops]


@pytest.mark.slow
@pytest.mark.privileged
def test_marks_are_those_of_traceroute(chain: Chain, ours: Ours, program: Callable[[str], str]) -> None:
    chain.filter(
        chain.routers[1],
        f"ip daddr {chain.target} reject with icmp admin-prohibited",
        f"ip6 daddr {chain.target6} reject with icmpv6 no-route",
    )
    for target, mark, words in (
        (chain.target, "!X", "administratively prohibited"),
        (chain.target6, "!N", "no route to the destination"),
        ("10.88.3.99", "!H", "host unreachable"),
    ):
        assert mark in chain.near.run(program("traceroute"), "-n", "-q", "1", target)
        done = ours(chain.near, "trace", "-n", "-c", "1", "-W", "6", target)
        assert done.returncode == 1
        title, *_, last, _, _ = done.stdout.splitlines()
        assert title.startswith(f"{target}: ends at hop ")
        assert title.endswith(words)
        assert last.endswith(mark)


@pytest.mark.slow
@pytest.mark.privileged
@pytest.mark.parametrize("kind", ["--udp", "--icmp"])
def test_narrow_network_is_found(kind: str, chain: Chain, ours: Ours) -> None:
    _, second, third = chain.routers
    second.run("ip", "link", "set", "right", "mtu", "1400")
    third.run("ip", "link", "set", "left", "mtu", "1400")
    done = ours(chain.near, "trace", "--json", "-n", "-c", "1", "--mtu", kind, chain.target, chain.target6)
    assert routes(done) == expected(chain)
    for route in json.loads(done.stdout.splitlines()[-1])["routes"]:
        assert route["mtu_bytes"] == 1400
        assert [hop["mtu_bytes"] for hop in route["hops"]] == [None, 1400, None, None]


@pytest.mark.slow
@pytest.mark.privileged
def test_loss_and_silent_routers(chain: Chain, ours: Ours) -> None:
    chain.filter(chain.routers[0], "icmp type time-exceeded numgen inc mod 2 == 0 drop")
    # What a router itself sends goes out, not through: it is kept from the others by the next one.
    chain.filter(chain.routers[1], f"ip saddr {chain.hop(3)} drop")
    done = ours(chain.near, "trace", "--json", "-n", "-c", "4", "-i", "0.2", "-W", "0.5", chain.target)
    assert done.returncode == 0
    (route,) = json.loads(done.stdout.splitlines()[-1])["routes"]
    assert [hop["loss"] for hop in route["hops"]] == [0, 0.5, 1, 0]
    assert route["hops"][2]["addresses"] == []


@pytest.mark.slow
@pytest.mark.privileged
def test_first_trace_of_many_hosts_is_whole(chain: Chain, ours: Ours) -> None:
    hosts = [f"10.88.3.{last}" for last in range(10, 30)]
    for host in hosts:
        chain.far.run("ip", "addr", "add", f"{host}/24", "dev", "left")
    done = ours(chain.near, "trace", "--json", "-n", "-c", "1", *hosts)
    assert done.returncode == 0
    for host, hops in routes(done).items():
        assert hops == [[chain.hop(1)], [chain.hop(2)], [chain.hop(3)], [host]]
