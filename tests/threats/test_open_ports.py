"""Open ports: from another host exactly those are open that the program has declared in so many words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.threats.namespaces import Network
from tests.threats.running import Running

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

LOOPBACK, PLAIN, ENCRYPTED = 7101, 7102, 7103


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_nmap_finds_the_declared_ports_and_no_other(
    network: Callable[..., Network], program: Callable[[str], str], tmp_path: Path, family: str
) -> None:
    hosts = network("server", "stranger")
    addresses = [
        f"tcp://:{LOOPBACK}",
        f"tcp://*:{PLAIN}?plaintext=yes",
        f"tls://*:{ENCRYPTED}?public=yes",
        f"unix://{tmp_path}/socket",
    ]
    listeners = [{"address": address, "serve": "echo"} for address in addresses]
    Running(hosts["server"], "server", {"listeners": listeners, "identity": ""}, tmp_path).hear()
    target = hosts["server"].ip4 if family == "IPv4" else hosts["server"].ip6
    words = ["-n", "-Pn", "-sT", "-p-", "-T5", "--min-rate", "20000", "-oG", "-", *(["-6"] if family == "IPv6" else [])]
    told = hosts["stranger"].run(program("nmap"), *words, target, seconds=40)
    assert {int(port) for port in re.findall(r"(\d+)/open/tcp", told)} == {PLAIN, ENCRYPTED}, told
    # That loopback is served at all is seen from the server itself.
    told = hosts["server"].run(program("nmap"), *words, "::1" if family == "IPv6" else "127.0.0.1", seconds=40)
    assert {int(port) for port in re.findall(r"(\d+)/open/tcp", told)} == {LOOPBACK, PLAIN, ENCRYPTED}, told
