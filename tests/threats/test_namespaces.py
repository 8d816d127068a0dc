"""The hosts that the attacks run in: joined with each other, cut off from everything else, gone at the end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.threats.namespaces import FOLDER, PREFIX, Network, in_namespace, remove_leftovers
from tests.threats.running import Running

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

# A refusal comes from the host itself: it was reached.
KNOCK = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), timeout=5)
except OSError as failure:
    print(type(failure).__name__, failure.strerror)
"""


def left(prefix: str) -> list[str]:
    return [entry.name for entry in FOLDER.iterdir() if entry.name.startswith(prefix)]


def test_hosts_reach_each_other_and_nobody_else(network: Callable[..., Network]) -> None:
    hosts = network("one", "other")

    def knock(address: str) -> str:
        return hosts["one"].run(sys.executable, "-c", KNOCK, address).strip()

    assert knock(hosts["other"].ip4) == knock(hosts["other"].ip6) == "ConnectionRefusedError Connection refused"
    (source,) = hosts["other"].take_sources(1)
    assert knock(source) == "ConnectionRefusedError Connection refused"
    assert knock("192.0.2.1") == knock("2001:db8::1") == "OSError Network is unreachable"
    assert hosts["one"].run("ls", "/sys/class/net").split() == ["eth0", "lo"]


def test_a_network_is_gone_when_it_is_closed() -> None:
    with pytest.raises(ZeroDivisionError), Network("host") as network:
        sleeper = network["host"].start("sleep", "60")
        grandchild = network["host"].start("sh", "-c", "sleep 61 & wait")
        assert left(network.name)
        raise ZeroDivisionError
    assert left(network.name) == []
    assert sleeper.returncode is not None
    assert grandchild.returncode is not None


def test_what_a_crashed_run_has_left_is_removed() -> None:
    with subprocess.Popen(["true"]) as dead:
        pass
    name = f"{PREFIX}{dead.pid}-1-host"
    subprocess.run(["ip", "netns", "add", name], check=True)
    words = in_namespace(name, "sh", "-c", "echo in it; exec sleep 20")
    with subprocess.Popen(words, stdout=subprocess.PIPE) as sleeper:
        assert sleeper.stdout is not None
        assert sleeper.stdout.readline() == b"in it\n"
        remove_leftovers()
        assert sleeper.wait(5) != 0
    assert left(name) == []


def test_a_program_ends_with_its_standard_input(network: Callable[..., Network], tmp_path: Path) -> None:
    settings = {"listeners": [{"address": "tcp://:0", "serve": "echo"}]}
    server = Running(network("server")["server"], "server", settings, tmp_path)
    server.hear()
    server.hang_up()
    with pytest.raises(AssertionError, match="has ended"):
        server.hear()
