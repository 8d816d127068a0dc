"""Scans in namespaces of their own: nothing open is missed, whatever lies between, and nothing else is found."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import AF_INET
from threading import Thread
from typing import Any

import pytest

from socketkit import scan as exported
from socketkit.inspect import scan as module
from socketkit.inspect.scan import HostReport, OpenPort, scan
from socketkit.inspect.targets import TargetError
from tests.conftest import Run
from tests.inspect.conftest import Ours
from tests.inspect.worlds import Worlds


@pytest.fixture
def worlds(program: Callable[[str], str]) -> Iterator[Worlds]:
    program("ip")
    program("nft")
    with Worlds() as worlds:
        yield worlds


def summary(ours: Ours, worlds: Worlds, *words: str, privileged: bool = True, status: int = 0) -> dict[str, Any]:
    # A policed scan takes its time where others keep the cores busy.
    done = ours(worlds.near, "scan", "--json", *words, privileged=privileged, seconds=100)
    assert done.returncode == status, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(told, dict)
    return told


def open_ports(told: dict[str, Any]) -> list[int]:
    (host,) = told["hosts"]
    return [port["port"] for port in host["open"]]


# --- four worlds


@pytest.mark.privileged
@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("world", ["clean", "loss", "dropped", "policed"])
def test_finds_fifty_of_fifty(worlds: Worlds, ours: Ours, world: str) -> None:
    ports = worlds.listen(50)
    worlds.become(world)
    told = summary(ours, worlds, "--no-identify", "-p", "-", worlds.far.ip4)
    assert open_ports(told) == ports
    assert told["method"] == "syn"
    (host,) = told["hosts"]
    closed = 65_535 - 50
    assert (host["closed"], host["silent"]) == ((0, closed) if world == "dropped" else (closed, 0))
    assert (told["loss"] > 0.02) == (world in ("loss", "policed"))


@pytest.mark.privileged
@pytest.mark.slow
def test_finds_all_over_ipv6(worlds: Worlds, ours: Ours) -> None:
    ports = worlds.listen(50)
    told = summary(ours, worlds, "--no-identify", "-p", "-", worlds.far.ip6)
    assert open_ports(told) == ports


@pytest.mark.privileged
@pytest.mark.slow
@pytest.mark.parametrize("world", ["clean", "dropped"])
def test_connects_where_it_may_not_do_more(worlds: Worlds, ours: Ours, world: str) -> None:
    worlds.listen(20)
    worlds.become(world)
    ports = ",".join(map(str, worlds.open))
    told = summary(ours, worlds, "--no-identify", "-p", f"1-1000,{ports}", worlds.far.ip4, privileged=False)
    assert (told["method"], open_ports(told)) == ("connect", worlds.open)


@pytest.mark.privileged
@pytest.mark.slow
def test_agrees_with_nmap(worlds: Worlds, ours: Ours, program: Callable[[str], str]) -> None:
    worlds.listen(50)
    told = worlds.near.run(program("nmap"), "-n", "-Pn", "-sS", "-T5", "-p-", "-oG", "-", worlds.far.ip4, seconds=60)
    theirs = sorted(int(port) for port in re.findall(r"(\d+)/open/tcp", told))
    assert open_ports(summary(ours, worlds, "--no-identify", "-p", "-", worlds.far.ip4)) == theirs


@pytest.mark.privileged
def test_a_filter_that_says_so(worlds: Worlds, ours: Ours) -> None:
    # Else one of these errors comes a second.
    worlds.far.set(ipv4__icmp_ratelimit=0, ipv4__icmp_ratemask=0, ipv6__icmp__ratelimit=0)
    rules = "chain f { type filter hook input priority 0; tcp dport 80 reject with icmpx type admin-prohibited\n}"
    worlds.far.run("nft", f"add table inet world {{{rules}\n}}")
    for address in (worlds.far.ip4, worlds.far.ip6):
        for rights in (True, False):
            told = summary(ours, worlds, "-p", "79-81", address, privileged=rights)
            (host,) = told["hosts"]
            assert (host["closed"], host["prohibited"], host["silent"]) == (2, 1, 0), (address, rights)


@pytest.mark.privileged
@pytest.mark.slow
def test_a_network(worlds: Worlds, ours: Ours) -> None:
    worlds.listen(3)
    ports = ",".join(map(str, worlds.open))
    done = ours(worlds.near, "scan", "--no-identify", "-p", ports, "10.77.0.0/29")
    assert done.returncode == 0
    assert f"{worlds.far.ip4}: 3 open" in done.stdout
    assert "6 hosts, 4 without an answer, 3 open ports" in done.stdout, done.stdout


@pytest.mark.privileged
@pytest.mark.slow
def test_udp(worlds: Worlds, ours: Ours) -> None:
    with worlds.far.entered():
        quiet, named = (socket.socket(AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with quiet, named:
        quiet.bind(("", 0))
        named.bind(("", 53))

        def answer() -> None:
            named.settimeout(20)
            query, peer = named.recvfrom(2_048)
            named.sendto(query[:2] + b"\x80\x05" + query[4:], peer)

        thread = Thread(target=answer)
        thread.start()
        silent = quiet.getsockname()[1]
        told = summary(ours, worlds, "-p", f"udp:53,udp:9,udp:{silent}", worlds.far.ip4)
        thread.join()
    (host,) = told["hosts"]
    (found,) = host["open"]
    assert (found["port"], found["protocol"], found["service"]) == (53, "udp", "dns")
    assert (host["closed"], host["silent"]) == (1, 1)


@pytest.mark.privileged
@pytest.mark.slow
def test_what_was_declared(worlds: Worlds, ours: Ours, tmp_path: Path) -> None:
    first, second = worlds.listen(2)
    file = tmp_path / "ports.toml"
    file.write_text(f'"{worlds.far.ip4}" = ["{first}/tcp", "{second}/tcp"]\n')
    words = ("--no-identify", "-p", "1-100", "--expect", str(file))
    assert summary(ours, worlds, *words)["differences"] == []
    other = next(port for port in range(2_000, 3_000) if port not in worlds.open)
    file.write_text(f'"{worlds.far.ip4}" = ["{first}/tcp", "{other}/tcp"]\n')
    told = summary(ours, worlds, *words, "-p", str(second), status=1)
    kinds = {(found["port"], found["kind"]) for found in told["differences"]}
    assert kinds == {(second, "undeclared"), (other, "missing")}


# --- on loopback, without rights


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_open_and_closed(run: Run, listener: socket.socket) -> None:
    port, closed = port_of(listener), free_port()

    async def main() -> list[HostReport]:
        return await scan("127.0.0.1", f"{port},{closed}", method="connect", identify=False)

    (report,) = run(main())
    assert [found.port for found in report.open] == [port]
    assert (report.state(port), report.state(closed), report.state(1)) == ("open", "closed", "unknown")
    assert (report.closed, report.silent, report.prohibited, report.unreachable) == (1, 0, 0, False)


def test_iterated_without_a_block(run: Run, listener: socket.socket) -> None:
    async def main() -> list[OpenPort]:
        return [port async for port in scan("127.0.0.1", str(port_of(listener)), method="connect", identify=False)]

    (found,) = run(main())
    assert (found.host, found.protocol, found.state, found.service) == ("127.0.0.1", "tcp", "open", "")
    assert 0 <= found.rtt_seconds < 10


def test_greeting_is_read(run: Run) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-Example_1.0\r\n")
        writer.close()

    async def main() -> OpenPort:
        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            (report,) = await scan("127.0.0.1", str(port), method="connect")
            return report.open[0]

    found = run(main())
    assert (found.service, found.product, found.tls) == ("ssh", "Example_1.0", None)


def test_cancelled_at_once(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        async with asyncio.timeout(5):
            scanning = scan("127.0.0.1", "-", method="connect", identify=False, rate_per_second=10)
            async with scanning:
                task = asyncio.create_task(scanning.receive())
                await asyncio.sleep(0.05)
                task.cancel()
                await asyncio.wait([task])

    run(main())


def test_name_without_address(run: Run) -> None:
    async def main() -> list[HostReport]:
        return await scan("nowhere.invalid", "80", method="connect")

    (report,) = run(main(), seconds=20)
    assert (report.host, report.address, report.unreachable) == ("nowhere.invalid", "", True)
    assert report.reason


def test_runs_once(run: Run, listener: socket.socket) -> None:
    async def main() -> None:
        scanning = scan("127.0.0.1", str(port_of(listener)), method="connect", identify=False)
        await scanning
        with pytest.raises(RuntimeError, match="runs once"):
            await scanning

    run(main())


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        ("0.0.0.0/0", "one run at most 65,536"),
        ("::/0", "one run at most 65,536"),
        ("10.0.0.0/16", "16,777,216 are the most"),
        ("0.0.0.0", "not the address of one host"),
        ("224.0.0.1", "not the address of one host"),
        ("192.0.2.0/33", "is no network"),
        ("a b", "is no host"),
        ([], "no host"),
    ],
)
def test_no_targets(hosts: str | list[str], said: str) -> None:
    with pytest.raises(TargetError, match=re.escape(said)):
        scan(hosts, "-")


def test_no_ways() -> None:
    with pytest.raises(TargetError, match="no way to scan"):
        scan("127.0.0.1", method="fin")
    with pytest.raises(TargetError, match="rate must be"):
        scan("127.0.0.1", rate_per_second=0)
    with pytest.raises(TargetError, match="no ports"):
        scan("127.0.0.1", module.Ports(()))


def test_what_is_not_private_is_said() -> None:
    assert scan("8.8.8.0/30", "80").notes == ["8.8.8.0/30 is not private: scan only what is yours"]
    assert not scan(["10.0.0.0/30", "fe80::/126", "127.0.0.1"], "80").notes


def test_it_is_exported() -> None:
    assert exported is scan
