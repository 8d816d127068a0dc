"""Programs that we did not write, on ports that nobody gave them: what their first bytes say they are for."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from socketkit import Endpoint
from socketkit.inspect.first_bytes import FirstBytes, FlowEvidence
from socketkit.inspect.uses import Use, use_of

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

Program = Callable[[str], str]


class Listener(NamedTuple):
    local: Endpoint
    peer: None = None
    state: str = "listening"
    processes: tuple[()] = ()  # the program is what must not be asked

    @property
    def scheme(self) -> str:
        return self.local.scheme


class Place:
    """Runs servers on odd ports of the loopback interface, and asks what they are for."""

    def __init__(self, collector: FirstBytes, folder: Path, program: Program) -> None:
        self.collector = collector
        self.folder = folder
        self.program = program
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._servers: list[subprocess.Popen[bytes]] = []

    def serve(self, name: str, *words: object) -> None:
        """Starts a server, and waits until it takes connections."""
        command = [self.program(name), *map(str, words)]
        log = (self.folder / "log").open("wb")
        self._servers.append(subprocess.Popen(command, cwd=self.folder, stdin=subprocess.PIPE, stdout=log, stderr=log))
        log.close()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._servers[-1].poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.02)
        raise AssertionError(f"{name} does not listen: {(self.folder / 'log').read_text(errors='replace')[-500:]}")

    def call(self, name: str, *words: object, say: bytes = b"") -> None:
        """Runs a client to its end; what it answers is not asked."""
        environment = {**os.environ, "HOME": str(self.folder), "GIT_TERMINAL_PROMPT": "0"}
        subprocess.run(
            [self.program(name), *map(str, words)], input=say, capture_output=True, timeout=20, cwd=self.folder,
            env=environment, check=False,
        )  # fmt: skip

    def use(self, transport: str = "tcp") -> tuple[Use, FlowEvidence]:
        entry = Listener(Endpoint(scheme=transport, host="127.0.0.1", port=self.port))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            evidence = self.collector.lookup(entry)
            if evidence is not None and evidence.sent and evidence.received:
                return use_of(entry, evidence), evidence
            time.sleep(0.02)
        raise AssertionError(f"no bytes were seen: {self.collector.counters()}")

    def close(self) -> None:
        for server in self._servers:
            server.terminate()  # git ends the daemon that it started then, and leaves it behind when it is killed
            try:
                server.communicate(timeout=10)
            finally:
                server.kill()


@pytest.fixture
def place(tmp_path: Path, program: Program) -> Iterator[Place]:
    with FirstBytes(["lo"]) as collector:
        place = Place(collector, tmp_path, program)
        yield place
        place.close()


def told(use: Use) -> tuple[str, str, str]:
    assert use.confidence >= 0.95, use
    return use.name, use.protocol, use.encrypted


def certificate(place: Place) -> None:
    place.call(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=a",
        "-keyout", "key.pem", "-out", "cert.pem",
    )  # fmt: skip


def test_curl_and_http(place: Place) -> None:
    place.serve("python3", "-m", "http.server", place.port, "--bind", "127.0.0.1")
    place.call("curl", "-s", f"http://127.0.0.1:{place.port}/")
    assert told(place.use()[0]) == ("web", "HTTP/1", "no")


def test_curl_and_tls(place: Place) -> None:
    certificate(place)
    place.serve("openssl", "s_server", "-accept", place.port, "-cert", "cert.pem", "-key", "key.pem", "-www", "-quiet")
    place.call(
        "curl", "-sk", "--resolve", f"name.example:{place.port}:127.0.0.1", f"https://name.example:{place.port}/"
    )
    use, evidence = place.use()
    assert told(use) == ("web", "TLS 1.3 h2", "yes")
    assert evidence.server_name == "name.example"
    assert evidence.alpn == ["h2", "http/1.1"]


def test_openssl_and_what_it_speaks_inside(place: Place) -> None:
    certificate(place)
    place.serve(
        "openssl", "s_server", "-accept", place.port, "-cert", "cert.pem", "-key", "key.pem", "-quiet", "-tls1_2",
        "-alpn", "imap",
    )  # fmt: skip
    place.call(
        "openssl", "s_client", "-connect", f"127.0.0.1:{place.port}", "-alpn", "imap", "-servername", "box.example"
    )
    assert told(place.use()[0]) == ("mail", "TLS 1.2 imap", "yes")


def test_ssh(place: Place) -> None:
    place.call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place.folder / "host")
    Path("/run/sshd").mkdir(exist_ok=True)
    place.serve(
        "sshd", "-D", "-f", "/dev/null", "-h", place.folder / "host", "-p", place.port, "-o",
        "ListenAddress=127.0.0.1", "-o", "PidFile=none",
    )  # fmt: skip
    place.call("ssh-keyscan", "-p", place.port, "127.0.0.1")
    assert told(place.use()[0]) == ("ssh", "SSH", "yes")


def test_redis(place: Place) -> None:
    place.serve("redis-server", "--port", place.port, "--bind", "127.0.0.1", "--save", "")
    place.call("redis-cli", "-p", place.port, "ping")
    assert told(place.use()[0]) == ("database", "Redis", "no")


def test_memcached(place: Place) -> None:
    place.serve("memcached", "-u", "root", "-l", "127.0.0.1", "-p", place.port)
    place.call("nc", "-N", "127.0.0.1", place.port, say=b"set greeting 0 60 5\r\nhello\r\nquit\r\n")
    assert told(place.use()[0]) == ("database", "memcached", "no")


def test_mosquitto(place: Place) -> None:
    place.serve("mosquitto", "-p", place.port)
    place.call("mosquitto_pub", "-h", "127.0.0.1", "-p", place.port, "-t", "a/b", "-m", "hello")
    assert told(place.use()[0]) == ("message queue", "MQTT", "no")


def test_rsync(place: Place) -> None:
    (place.folder / "rsyncd.conf").write_text("use chroot = no\n[files]\npath = .\n")
    place.serve(
        "rsync", "--daemon", "--no-detach", "--address=127.0.0.1", f"--port={place.port}", "--config=rsyncd.conf"
    )
    place.call("rsync", f"rsync://127.0.0.1:{place.port}/")
    assert told(place.use()[0]) == ("file sharing", "rsync", "no")


def test_git(place: Place) -> None:
    place.call("git", "init", "-q", "--bare", place.folder / "project")
    place.serve(
        "git", "daemon", "--listen=127.0.0.1", f"--port={place.port}", "--export-all", f"--base-path={place.folder}"
    )
    place.call("git", "ls-remote", f"git://127.0.0.1:{place.port}/project")
    assert told(place.use()[0]) == ("version control", "git", "no")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_dig_and_dnsmasq(place: Place, transport: str) -> None:
    place.serve(
        "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces",
        "--listen-address=127.0.0.1", f"--port={place.port}", "--address=/example.org/192.0.2.1", "--pid-file",
    )  # fmt: skip
    place.call(
        "dig",
        "+time=5",
        "+tries=1",
        f"+{'no' if transport == 'udp' else ''}tcp",
        "-p",
        place.port,
        "@127.0.0.1",
        "example.org",
    )
    assert told(place.use(transport)[0]) == ("dns", "DNS", "no")
