"""Man in the middle: whoever takes the traffic over by ARP reads nothing, and an impostor is sent nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.threats.authority import Authority
from tests.threats.capture import Capture
from tests.threats.namespaces import Network
from tests.threats.running import Running

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

PLAIN, ENCRYPTED = 7102, 7103
NAME = "server.test"
SECRET = "secret-for-the-server-alone"
POISONED_WITHIN_SECONDS = 15.0


class Middle:
    """A server with a certificate of an authority, a client, and a host between them that owns neither."""

    def __init__(self, hosts: Network, program: Callable[[str], str], folder: Path) -> None:
        self.hosts = hosts
        self._program = program
        self._folder = folder
        server = hosts["server"]
        self._names = (f"DNS:{NAME}", f"IP:{server.ip4}")
        authority = Authority(program("openssl"), folder, "authority")
        issued = authority.issue(*self._names)
        addresses = [f"tls://*:{ENCRYPTED}?public=yes", f"tcp://*:{PLAIN}?plaintext=yes"]
        settings = {
            "listeners": [{"address": address, "serve": "echo"} for address in addresses],
            "identity": issued.key,
            "certificates": issued.certificate,
        }
        self.fingerprint = Running(server, "server", settings, folder).hear()["fingerprint"]
        self.encrypted = f"tls://{server.ip4}:{ENCRYPTED}"
        self.plain = f"tcp://{server.ip4}:{PLAIN}?plaintext=yes"
        self.careful = {
            "pin": f"{self.encrypted}?pin={self.fingerprint}",
            "authority": f"{self.encrypted}?ca={authority.path}&sni={NAME}",
            "first use": f"{self.encrypted}?trust=first_use",
        }

    def call(self, address: str, line: str = SECRET) -> dict[str, Any]:
        answer: dict[str, Any] = Running(
            self.hosts["client"], "caller", {"address": address, "send": line}, self._folder
        ).hear()
        return answer

    def poison(self) -> None:
        """The client sends what is for the server to the host between them, which forwards it."""
        client, between, server = (self.hosts[name] for name in ("client", "between", "server"))
        # Else its kernel would tell the client the shorter way.
        between.set(ipv4__ip_forward=1, ipv4__conf__all__send_redirects=0, ipv4__conf__eth0__send_redirects=0)
        between.start("timeout", "50", self._program("arpspoof"), "-i", "eth0", "-t", client.ip4, server.ip4)
        hardware, end = between.hardware_address(), time.monotonic() + POISONED_WITHIN_SECONDS
        while hardware not in (told := client.run("ip", "neigh", "show", server.ip4)):
            assert time.monotonic() < end, f"the client was not poisoned: {told}"
            time.sleep(0.1)

    def impersonate(self) -> Running:
        """The host between them answers in the server's place, with the same names in a certificate of its own."""
        between = self.hosts["between"]
        forged = Authority(self._program("openssl"), self._folder, "forger").issue(*self._names)
        settings = {"port": ENCRYPTED, "key": forged.key, "certificate": forged.certificate}
        impostor = Running(between, "impostor", settings, self._folder)
        impostor.hear()
        between.run(
            self._program("nft"),
            "add table ip middle; add chain ip middle in { type nat hook prerouting priority -100; };"
            f" add rule ip middle in tcp dport {ENCRYPTED} redirect to :{ENCRYPTED}",
        )
        return impostor


@pytest.fixture
def middle(
    network: Callable[..., Network],
    program: Callable[[str], str],
    tmp_path: Path,
) -> Middle:
    return Middle(network("server", "client", "between"), program, tmp_path)


def test_who_listens_in_the_middle_reads_nothing(middle: Middle, program: Callable[[str], str], tmp_path: Path) -> None:
    open_word = "open-word-on-the-wire"
    assert middle.call(middle.plain, "hello")["outcome"] == "served"
    middle.poison()
    with Capture(program("tcpdump"), middle.hosts["between"], tmp_path / "middle.pcap") as capture:
        for address in middle.careful.values():
            assert middle.call(address) == {"outcome": "served", "answer": f"{SECRET}\n"}
        assert middle.call(middle.plain, open_word)["outcome"] == "served"
        capture.wait_for(open_word.encode())
        assert SECRET.encode() not in capture.seen()


def test_an_impostor_in_the_middle_is_sent_nothing(middle: Middle) -> None:
    for address in middle.careful.values():
        assert middle.call(address) == {"outcome": "served", "answer": f"{SECRET}\n"}
    middle.poison()
    impostor = middle.impersonate()

    for kind, address in middle.careful.items():
        refusal = middle.call(address)
        assert refusal["outcome"] == "UntrustedPeer", (kind, refusal)
        assert refusal["presented"] != middle.fingerprint
        if kind != "authority":  # no key is expected of a name that an authority vouches for
            assert refusal["expected"] == [middle.fingerprint]
            assert refusal["presented"] in refusal["text"]
            assert middle.fingerprint in refusal["text"]
    told = impostor.ask("report")
    assert told["accepted"] >= len(middle.careful), "the impostor was never asked"
    assert told["read"] == ""
    assert told["handshakes"] == 0

    # That it would have been read: a client that trusts anyone talks to the impostor.
    assert middle.call(f"{middle.encrypted}?trust=danger_anyone")["outcome"] == "served"
    assert SECRET in impostor.ask("report")["read"]


def test_the_first_use_is_the_only_one_that_trusts(middle: Middle) -> None:
    """Somebody who met the impostor first keeps his key: the real server is the stranger then, and refused."""
    assert middle.call(middle.plain, "hello")["outcome"] == "served"
    middle.poison()
    middle.impersonate()
    assert middle.call(middle.careful["first use"])["outcome"] == "served"
    middle.hosts["between"].run("nft", "flush", "ruleset")
    refusal = middle.call(middle.careful["first use"])
    assert refusal["outcome"] == "UntrustedPeer", refusal
    assert refusal["presented"] == middle.fingerprint
