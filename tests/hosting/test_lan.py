"""A service for the local network, on a machine with containers and a VPN, and a caller on another machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.threats.namespaces import Host, Network, in_namespace

PROGRAM = """
import sys
from socketkit.cli import hosting
from socketkit.cli.commands import socketkit
from socketkit.hosting import place
from socketkit.hosting.web import web
import click

async def hello(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

@click.command
@hosting.ending_options
@hosting.place_options
def command(seconds, once, as_json, qr, **options):
    hosting.run_hosted(web(hello), place(hosting.wanted_of(options)), hosting.Manner(seconds, once, as_json, qr))

with click.Context(socketkit) as context:
    command.main(sys.argv[1:], parent=context, standalone_mode=False)
"""
CONTAINERS_AND_VPN = (
    "route add default dev eth0 metric 100",
    "link add docker0 type bridge",
    "link set docker0 up",
    "addr add 172.17.0.1/16 dev docker0",
    "tuntap add name vpn0 mode tun",
    "link set vpn0 up",
    "addr add 10.8.0.2/24 dev vpn0",
    "route add default dev vpn0 metric 1",
)

pytestmark = [pytest.mark.privileged, pytest.mark.slow]


@pytest.fixture
def machines(network: Callable[..., Network]) -> tuple[Host, Host]:
    made = network("server", "caller")
    for words in CONTAINERS_AND_VPN:
        made["server"].run("ip", *words.split())
    return made["server"], made["caller"]


class Service:
    def __init__(self, host: Host, folder: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            in_namespace(host.namespace, sys.executable, "-c", PROGRAM, "--json", *words),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True,
            env=os.environ | {"SOCKETKIT_HOME": str(folder)},
        )  # fmt: skip

    def event(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        event: dict[str, Any] = json.loads(self.process.stdout.readline())
        return event

    def close(self) -> None:
        self.process.kill()
        with self.process:
            pass


@pytest.fixture
def serve(machines: tuple[Host, Host], tmp_path: Path) -> Iterator[Callable[..., Service]]:
    running: list[Service] = []

    def start(*words: str) -> Service:
        running.append(Service(machines[0], tmp_path / "server", *words))
        return running[-1]

    yield start
    for service in running:
        service.close()


def got(caller: Host, folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        in_namespace(caller.namespace, sys.executable, "-m", "socketkit", "get", "-o", "-", url),
        capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {"SOCKETKIT_HOME": str(folder)},
    )  # fmt: skip


def listeners(host: Host) -> list[str]:
    return [line.split()[3].rpartition(":")[0] for line in host.run("ss", "-Hltn").splitlines()]


def test_lan(
    machines: tuple[Host, Host], serve: Callable[..., Service], tmp_path: Path, program: Callable[[str], str]
) -> None:
    server, caller = machines
    program("ss")
    event = serve("--lan").event()
    assert event["url"].startswith(f"https://{server.ip4}:")
    assert listeners(server) == [server.ip4]  # neither the VPN nor containers, nor anybody else
    assert got(caller, tmp_path / "caller", event["url"]).stdout == "hello"
    without = got(caller, tmp_path / "caller", event["url"].partition("/~")[0])
    assert without.returncode == 1 and "403" in without.stderr
    # Whoever calls by another key's pin is not sent a byte of it.
    pinned = got(caller, tmp_path / "other", f"{event['url']}#pin={another_key(tmp_path)}")
    assert pinned.returncode == 1 and "expected was sk1:" in pinned.stderr


def test_loopback_without_a_word(machines: tuple[Host, Host], serve: Callable[..., Service], tmp_path: Path) -> None:
    server, caller = machines
    event = serve().event()
    assert event["url"].startswith("http://localhost:")
    assert set(listeners(server)) <= {"127.0.0.1", "[::1]"}
    there = event["url"].replace("localhost", server.ip4)
    refused = subprocess.run(
        in_namespace(caller.namespace, sys.executable, "-m", "socketkit", "get", "--plaintext", "-o", "-", there),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert refused.returncode == 1 and "refused" in refused.stderr


def test_everywhere(machines: tuple[Host, Host], serve: Callable[..., Service], tmp_path: Path) -> None:
    server, caller = machines
    event = serve("--on", "*").event()
    assert event["url"].startswith(f"https://{server.ip4}:")
    assert got(caller, tmp_path / "caller", event["url"]).stdout == "hello"


def another_key(tmp_path: Path) -> str:
    """Not the one of the server."""
    shown = subprocess.run(
        [sys.executable, "-m", "socketkit", "identity"], capture_output=True, text=True, timeout=60, check=True,
        env=os.environ | {"SOCKETKIT_HOME": str(tmp_path / "other")},
    )  # fmt: skip
    return shown.stdout.split()[0]
