"""A man in the middle, made in a network and found by `audit` there, until what the finding says was done.

What concerns files of a machine is changed in a copy of its /etc, in a mount namespace of its own.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.threats.auditing import Auditor, ids, until
from tests.threats.namespaces import Host, Network
from tests.threats.running import Running

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

MakeNetwork = Callable[..., Network]
PORT = 7171
WORDS = ("-q", "-n")


@contextmanager
def serving(host: Host, folder: Path) -> Iterator[tuple[int, str]]:
    """A TLS service of this tree with a key of its own: its process and its fingerprint."""
    listener = {"address": f"tls://*:{PORT}?public=yes", "serve": "echo"}
    running = Running(host, "server", {"listeners": [listener], "identity": ""}, folder)
    try:
        yield running.pid, running.hear()["fingerprint"]
    finally:
        running.stop()


def test_own_service_with_another_key_until_it_is_accepted(network: MakeNetwork, tmp_path: Path) -> None:
    server = network("server")["server"]
    place = f"localhost:{PORT}"
    with serving(server, tmp_path) as (_, first):
        auditor = Auditor(server, tmp_path, "--probe")
        auditor.run("socketkit", "trust", "add", place, first)
        assert auditor.new() == []
    with serving(server, tmp_path) as (pid, second):
        (found,) = auditor.new()
        assert (found["id"], found["severity"], found["socket"]) == ("MI3", "high", f"tcp6://*:{PORT}")
        assert f"[{pid}]" in found["process"]
        assert first in found["evidence"] and second in found["evidence"]
        remedy = f"socketkit trust replace {place} {second}"
        assert found["remedy"].endswith(f"; if it was: {remedy}")
        auditor.apply(remedy)
        assert auditor.new() == []


def test_impostor_by_arp_until_the_right_address_is_fixed(
    network: MakeNetwork, program: Callable[[str], str], tmp_path: Path
) -> None:
    """arpspoof takes the gateway's place, and answers with a key of its own where the gateway has a service."""
    net = network("victim", "gateway", "impostor")
    victim, gateway, impostor = (net[name] for name in ("victim", "gateway", "impostor"))
    victim.run("ip", "route", "add", "default", "via", gateway.ip4)
    impostor.set(ipv4__ip_forward=1, ipv4__conf__all__send_redirects=0, ipv4__conf__eth0__send_redirects=0)
    divert = f"tcp dport {PORT} redirect to :{PORT}"
    chain = "add table ip middle; add chain ip middle in { type nat hook prerouting priority -100; };"
    impostor.run(program("nft"), f"{chain} add rule ip middle in {divert}")

    def hardware(host: Host) -> str:
        words = victim.run("ip", "neigh", "show", host.ip4).split()
        return words[words.index("lladdr") + 1] if "lladdr" in words else ""

    with serving(gateway, tmp_path) as (_, right), serving(impostor, tmp_path) as (_, wrong):
        place = f"{gateway.ip4}:{PORT}"
        auditor = Auditor(victim, tmp_path, "--probe")  # with it the gateway's address is known
        auditor.run("socketkit", "trust", "add", place, right)
        until(lambda: victim.run("ping", "-c", "1", "-W", "1", gateway.ip4, status=None), lambda said: " 0%" in said)
        auditor = Auditor(victim, tmp_path, "--probe")
        assert hardware(gateway) == gateway.hardware_address()
        assert auditor.new() == []

        victim.run("ping", "-c", "1", impostor.ip4)  # a neighbour as others are
        spoofing = impostor.start(program("arpspoof"), "-i", "eth0", "-t", victim.ip4, gateway.ip4)
        until(lambda: hardware(gateway), lambda told: told == impostor.hardware_address())
        found = auditor.until_new("MI1", "MI2", "MI3")
        assert ids(found) == [("MI1", "high"), ("MI2", "high"), ("MI3", "high")]
        evidence = {one["id"]: one["evidence"] for one in found}
        assert "one of which is the gateway" in evidence["MI1"]
        assert gateway.hardware_address() in evidence["MI2"] and impostor.hardware_address() in evidence["MI2"]
        assert f"shows {wrong}, known is {right}" in evidence["MI3"]

        (remedy,) = auditor.fix()  # no command that would trust the impostor
        auditor.apply(remedy.replace("RIGHT_ADDRESS", gateway.hardware_address()))
        assert auditor.new() == []
        assert spoofing.poll() is None, "the remedy has to hold while the attack goes on"
