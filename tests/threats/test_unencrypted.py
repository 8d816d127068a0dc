"""Unencrypted: what crosses the wire in a TLS stream cannot be read there, and no older TLS is spoken."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.threats.capture import Capture
from tests.threats.namespaces import Network
from tests.threats.running import Running

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

PLAIN, ENCRYPTED = 7102, 7103
SECRETS = [f"secret-{number}-kept-from-the-wire" for number in range(3)]
OPEN_WORDS = [f"open-word-{number}-on-the-wire" for number in range(3)]


def test_a_capture_of_the_wire_holds_no_secret(
    network: Callable[..., Network], program: Callable[[str], str], tmp_path: Path
) -> None:
    hosts = network("server", "client")
    server, client = hosts["server"], hosts["client"]
    addresses = [f"tls://*:{ENCRYPTED}?public=yes", f"tcp://*:{PLAIN}?plaintext=yes"]
    listeners = [{"address": address, "serve": "echo"} for address in addresses]
    pin = Running(server, "server", {"listeners": listeners, "identity": ""}, tmp_path).hear()["fingerprint"]

    def call(address: str, word: str) -> None:
        answer = Running(client, "caller", {"address": address, "send": word}, tmp_path).hear()
        assert answer == {"outcome": "served", "answer": f"{word}\n"}

    with Capture(program("tcpdump"), server, tmp_path / "wire.pcap") as capture:
        for secret in SECRETS:
            call(f"tls://{server.ip4}:{ENCRYPTED}?pin={pin}", secret)
        for word in OPEN_WORDS:
            call(f"tcp://{server.ip4}:{PLAIN}?plaintext=yes", word)
        capture.wait_for(OPEN_WORDS[-1].encode())
        wire = capture.seen()
    assert [word for word in OPEN_WORDS if word.encode() not in wire] == []
    assert [secret for secret in SECRETS if secret.encode() in wire] == []
    assert wire.count(b"\x17\x03\x03") >= 2 * len(SECRETS), "no application data of TLS was captured at all"


def test_sslscan_sees_tls_1_3_only(
    network: Callable[..., Network], program: Callable[[str], str], tmp_path: Path
) -> None:
    hosts = network("server", "stranger")
    server = hosts["server"]
    # A scan breaks every rule that there is: its host is trusted not to be an attack, else the limits would stop it.
    listener = {"address": f"tls://*:{ENCRYPTED}?public=yes", "serve": "echo", "limits": {"trusted": ["10.77.0.0/16"]}}
    Running(server, "server", {"listeners": [listener], "identity": ""}, tmp_path).hear()
    told = hosts["stranger"].run(program("sslscan"), "--no-colour", "--xml=-", f"{server.ip4}:{ENCRYPTED}", seconds=40)
    protocols = re.findall(r'<protocol type="(\w+)" version="([\d.]+)" enabled="(\d)"', told)
    assert ("tls", "1.2", "0") in protocols, told
    assert [(kind, version) for kind, version, enabled in protocols if enabled == "1"] == [("tls", "1.3")], told
    ciphers = re.findall(r'<cipher [^>]*sslversion="([^"]+)"[^>]*cipher="([^"]+)"', told)
    assert ciphers, told
    assert {version for version, _ in ciphers} == {"TLSv1.3"}, told
