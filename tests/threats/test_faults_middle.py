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
from tests.threats.authority import Authority
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


# --- files of the machine


class OwnFiles:
    """A host with copies of /etc and /usr/local/share, which the programs in it see in their place."""

    def __init__(self, host: Host, folder: Path, program: Callable[[str], str]) -> None:
        self.etc, self.share = folder / "etc", folder / "share"
        shutil.copytree("/etc", self.etc, symlinks=True)
        (self.share / "ca-certificates").mkdir(parents=True)
        mounts = 'mount --bind "$0" /etc && mount --bind "$1" /usr/local/share && echo ready && exec sleep 1000'
        words = (program("unshare"), "-m", "sh", "-c", mounts, str(self.etc), str(self.share))
        keeper = host.start(*words, stdout=subprocess.PIPE)
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == b"ready\n"
        self.auditor = Auditor(host, folder, inside=(program("nsenter"), "-t", str(keeper.pid), "-m", "--"))


@pytest.fixture
def files(network: MakeNetwork, program: Callable[[str], str], tmp_path: Path) -> OwnFiles:
    return OwnFiles(network("host")["host"], tmp_path, program)


def test_new_authority_until_it_is_taken_out(files: OwnFiles, program: Callable[[str], str], tmp_path: Path) -> None:
    auditor, openssl = files.auditor, program("openssl")
    evil = Authority(openssl, tmp_path, "evil")
    leaf = evil.issue("DNS:bank.example.org")

    def vouched() -> bool:
        return "OK" in auditor.run(openssl, "verify", "-CApath", "/etc/ssl/certs", leaf.certificate, status=None)

    assert (auditor.new(), vouched()) == ([], False)
    shutil.copy(evil.path, files.share / "ca-certificates" / "evil.crt")
    auditor.run("update-ca-certificates")
    (found,) = auditor.new()
    assert (found["id"], found["severity"]) == ("MI5", "high")
    assert "evil" in found["evidence"] and vouched()
    look, mend = auditor.fix()
    assert "evil.crt" in auditor.apply(look)
    (files.share / "ca-certificates" / "evil.crt").unlink()
    auditor.apply(mend)
    assert (auditor.new(), vouched()) == ([], False)


def test_new_authority_beside_the_bundle_until_it_is_accepted(
    files: OwnFiles, openssl: Callable[..., str], program: Callable[[str], str], tmp_path: Path
) -> None:
    """OpenSSL finds it by its hash, and other programs do not: it is in no bundle."""
    evil = Authority(program("openssl"), tmp_path, "evil")
    name = f"{openssl('x509', '-hash', '-noout', '-in', evil.path).strip()}.0"
    shutil.copy(evil.path, files.etc / "ssl" / "certs" / name)
    (found,) = files.auditor.new()
    assert found["id"] == "MI5"
    assert f"/etc/ssl/certs/{name}" in found["evidence"]
    assert "socketkit audit --accept" in found["remedy"]
    files.auditor.run("socketkit", "audit", "--own", "--accept", "--fail-on", "never")
    assert files.auditor.new() == []


PROXY = "10.77.0.9:3128"
PROXIES = {
    "environment": f"https_proxy=http://{PROXY}\n",
    "profile.d/x.sh": f"export https_proxy=http://{PROXY}\n",
    "apt/apt.conf.d/99x": f'Acquire {{ http {{ Proxy "http://{PROXY}"; }}; }};\n',
}


def test_proxies_until_they_are_taken_out(files: OwnFiles) -> None:
    before = {}
    for place, text in PROXIES.items():
        file = files.etc / place
        before[file] = file.read_text() if file.exists() else ""
        file.write_text(before[file] + text)
    # Programs do as they say.
    assert PROXY in files.auditor.run("sh", "-lc", "env")
    assert PROXY in files.auditor.run("apt-config", "dump", "Acquire::http::Proxy")
    found = files.auditor.new()
    assert ids(found) == [("MI6", "low")] * 3
    named = {one["evidence"].partition(" ")[0] for one in found}
    assert named == {f"/etc/{place}" for place in PROXIES}
    assert all(f"names {PROXY}" in one["evidence"] for one in found)
    for file, text in before.items():
        file.write_text(text)
    assert files.auditor.new() == []


def test_name_in_the_file_of_hosts_until_its_line_is_gone(files: OwnFiles) -> None:
    file, auditor = files.etc / "hosts", files.auditor
    before = file.read_text()
    file.write_text(f"{before}\n10.77.0.9 bank.example.org\n")
    assert auditor.run("getent", "hosts", "bank.example.org").startswith("10.77.0.9 ")
    (found,) = auditor.new()
    assert (found["id"], found["severity"]) == ("MI7", "medium")
    assert "bank.example.org is 10.77.0.9" in found["evidence"]
    file.write_text(before)
    assert auditor.new() == []
