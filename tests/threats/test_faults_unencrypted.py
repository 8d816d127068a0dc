"""TLS that is too old, and a certificate that has expired: in a network, found by `audit`, until they are replaced."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.threats.auditing import Auditor, until
from tests.threats.namespaces import Host, Network

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

MakeNetwork = Callable[..., Network]
OpenSSL = Callable[..., str]
PORT = 7171
OLD = ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
NEW = ("-tls1_3",)


Made = Callable[..., tuple[str, ...]]


@pytest.fixture
def made(openssl: OpenSSL, tmp_path: Path) -> Made:
    """A new key with its certificate: options of s_server. `expired`: it ended years ago."""

    def make(*, expired: bool = False) -> tuple[str, ...]:
        folder = tmp_path / str(time.monotonic_ns())
        folder.mkdir()
        key, certificate = f"{folder}/key.pem", f"{folder}/certificate.pem"
        words = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=box", "-keyout", key)
        if not expired:
            openssl("req", "-x509", *words, "-days", "100", "-out", certificate)
        else:
            # No other command of openssl makes one that has ended.
            (folder / "index").touch()
            (folder / "ca.conf").write_text(CA.format(folder=folder))
            openssl("req", *words, "-out", f"{folder}/request")
            own = ("-selfsign", "-create_serial", "-config", f"{folder}/ca.conf", "-keyfile", key)
            dates = ("-startdate", "20200101000000Z", "-enddate", "20200201000000Z")
            openssl("ca", "-batch", "-notext", *own, *dates, "-in", f"{folder}/request", "-out", certificate)
        return "-key", key, "-cert", certificate

    return make


CA = """
[ca]
default_ca = own
[own]
database = {folder}/index
new_certs_dir = {folder}
serial = {folder}/serial
default_md = sha256
policy = any
[any]
commonName = supplied
"""


@contextmanager
def serving(host: Host, openssl: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    process = host.start(openssl, "s_server", "-accept", str(PORT), "-quiet", *words, stdin=subprocess.PIPE)
    try:
        until(lambda: listens(host), lambda there: there)
        yield process
    finally:
        process.kill()
        process.wait()
        until(lambda: listens(host), lambda there: not there)


def listens(host: Host) -> bool:
    return f":{PORT} " in host.run("ss", "-ltnH")


def test_service_of_old_tls_until_it_allows_the_new_alone(
    network: MakeNetwork, program: Callable[[str], str], made: Made, tmp_path: Path
) -> None:
    server, openssl = network("server")["server"], program("openssl")
    certificate = made()
    with serving(server, openssl, *NEW, *certificate):
        auditor = Auditor(server, tmp_path, "--probe")
    with serving(server, openssl, *OLD, *certificate) as process:
        (found,) = auditor.until_new("UE3")
        assert (found["severity"], found["socket"]) == ("medium", f"tcp://*:{PORT}")
        assert f"openssl[{process.pid}]" in found["process"]
        assert "TLSv1.1" in found["evidence"]
    with serving(server, openssl, *NEW, *certificate):
        assert auditor.new() == []


def test_expired_certificate_until_it_is_renewed(
    network: MakeNetwork, program: Callable[[str], str], made: Made, tmp_path: Path
) -> None:
    server, openssl = network("server")["server"], program("openssl")
    with serving(server, openssl, *NEW, *made()):
        auditor = Auditor(server, tmp_path, "--probe")
    with serving(server, openssl, *NEW, *made(expired=True)) as process:
        (found,) = auditor.new()
        assert (found["id"], found["severity"], found["socket"]) == ("UE4", "high", f"tcp://*:{PORT}")
        assert f"openssl[{process.pid}]" in found["process"]
        assert "until 2020-02-01" in found["evidence"]
    with serving(server, openssl, *NEW, *made()):
        assert auditor.new() == []


def test_connection_of_old_tls_until_it_is_a_new_one(
    network: MakeNetwork, program: Callable[[str], str], made: Made, tmp_path: Path
) -> None:
    net, openssl = network("home", "far"), program("openssl")
    home, far = net["home"], net["far"]
    certificate = made()
    auditor = Auditor(home, tmp_path)

    def look(*version: str) -> list[dict[str, Any]]:
        """Connections begin while it looks at first bytes, one after the other: one of them is seen whole."""
        words = (openssl, "s_client", "-connect", f"{far.ip4}:{PORT}", "-quiet", *version)
        with (
            serving(far, openssl, *version, *certificate),
            ExitStack() as stack,
            auditor.looking("--seconds", "1.5") as audit,
        ):
            while audit.poll() is None:
                stack.callback(home.start(*words, stdin=subprocess.PIPE).kill)
                time.sleep(0.4)
            return auditor.told(audit)

    (found,) = until(lambda: look(*OLD), len)
    assert (found["id"], found["severity"]) == ("UE3", "medium")
    assert f"-> tcp://{far.ip4}:{PORT}" in found["socket"]
    assert found["process"].startswith("openssl[")
    assert "TLS 1.1" in found["evidence"]
    assert look(*NEW) == []
