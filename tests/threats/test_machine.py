"""The files that a machine is read from: each parser on text, and what this machine says."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from socketkit.threats import machine
from socketkit.threats.view import HostsLine
from tests.threats.made_up import Program, Row


def test_counters() -> None:
    text = "TcpExt: SyncookiesSent TCPChallengeACK\nTcpExt: 3 -1\nIpExt: InOctets\nIpExt: x\nodd"
    assert machine.counters(text) == {"TcpExt.SyncookiesSent": 3, "TcpExt.TCPChallengeACK": -1}


def test_hosts_and_resolvers() -> None:
    text = "127.0.0.1 localhost  Box # a\n\n# 1.2.3.4 no\n192.0.2.7\tbank.example\n"
    assert machine.hosts(text) == [
        HostsLine("localhost", "127.0.0.1"),
        HostsLine("box", "127.0.0.1"),
        HostsLine("bank.example", "192.0.2.7"),
    ]
    assert machine.resolvers("search a\nnameserver 192.0.2.53\nnameserver\n") == ["192.0.2.53"]


def test_proxies() -> None:
    found = machine.proxy_lines("/f", 'PATH=/bin\nexport https_proxy="http://p:3128"\nHTTP_PROXY=\n')
    assert found == {"/f https_proxy": "http://p:3128"}
    text = '// Acquire::http::Proxy "http://no";\nAcquire::http::Proxy "http://p:3142";\n'
    assert machine.apt_proxies("/f", text) == {"/f Acquire::http::Proxy": "http://p:3142"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('Acquire { http { Proxy "http://p:1"; }; };', {"Acquire::http::Proxy": "http://p:1"}),
        ('Acquire::http { Proxy "http://p:1"; Pipeline-Depth "0"; };', {"Acquire::http::Proxy": "http://p:1"}),
        ('Acquire::http::Proxy::deb.example "http://p:1";', {"Acquire::http::Proxy::deb.example": "http://p:1"}),
        ('Acquire::http::Proxy::deb.example "DIRECT";', {}),
        ('Acquire::http::Proxy-Auto-Detect "/opt/x";', {"Acquire::http::Proxy-Auto-Detect": "/opt/x"}),
        ('/* Acquire::http::Proxy "http://no"; */ # x "\nAPT::Proxy "a";', {}),
        ('} } Acquire::http::Proxy "http://p//1"; {', {"Acquire::http::Proxy": "http://p//1"}),
        ('Acquire::http::Proxy "', {}),
    ],
)
def test_proxies_of_apt(text: str, found: dict[str, str]) -> None:
    assert machine.apt_proxies("/f", text) == {f"/f {name}": value for name, value in found.items()}


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("Limit  Soft Hard Units\nMax open files            1024                 4096                 files\n", 1024),
        ("Max open files unlimited unlimited files", None),
        ("", None),
    ],
)
def test_descriptor_limit(text: str, limit: int | None) -> None:
    assert machine.descriptor_limit(text) == limit


def test_packages(tmp_path: Path) -> None:
    (tmp_path / "nginx:amd64.list").write_text("/.\n/usr/sbin/nginx\n/etc/nginx\n")
    packages = machine.package_files(str(tmp_path))
    assert packages == {"/usr/sbin/nginx": "nginx"}
    assert machine.package_of("/sbin/nginx", packages) == "nginx"
    assert machine.package_of("/tmp/nginx", packages) is None
    assert machine.package_files(str(tmp_path / "none")) is None


def test_folders_in_which_everybody_may_write(tmp_path: Path) -> None:
    own, shared = tmp_path / "own", tmp_path / "shared"
    own.mkdir()
    shared.mkdir()
    assert machine.open_folder(str(own / "a.sock")) == (None, False)
    os.chmod(shared, 0o1777)
    assert machine.open_folder(str(shared / "a.sock")) == (str(shared), True)
    os.chmod(shared, 0o777)
    assert machine.open_folder(str(shared / "a.sock")) == (str(shared), False)
    (shared / "below").mkdir()
    assert machine.open_folder(str(shared / "below" / "a.sock")) == (str(shared), False)


def test_authorities(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.crt"
    bundle.write_text("not one\n-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n")
    assert machine.authorities(str(bundle), str(tmp_path / "none")) == {}


def test_authority_in_a_file_that_openssl_finds(openssl: Callable[..., str], tmp_path: Path) -> None:
    """Where it is in the bundle, too, it is one; else its file stands in its name."""
    bundle, folder = tmp_path / "bundle.crt", tmp_path / "certs"
    folder.mkdir()
    (folder / "abcdef01.0").write_text("broken")
    words = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=box")
    openssl("req", "-x509", *words, "-keyout", tmp_path / "key", "-out", folder / "0a1b2c3d.0")
    bundle.write_text("")
    (name,) = (machine.authorities(str(bundle), str(folder)) or {}).values()
    assert name == f"box in {folder}/0a1b2c3d.0"
    bundle.write_text((folder / "0a1b2c3d.0").read_text())
    assert list((machine.authorities(str(bundle), str(folder)) or {}).values()) == ["box"]


def test_whose_sockets_matter() -> None:
    far, near = Program("far"), Program("near")
    rows = [
        Row("tcp://192.0.2.1:5", "tcp://198.51.100.1:80", processes=(far,)),
        Row("tcp://127.0.0.1:5", "tcp://127.0.0.1:80", processes=(near,)),
        Row("unix:///run/a", processes=(near,)),
        Row("tcp://*:80?plaintext=yes", processes=None),
        Row("tcp://127.0.0.1:81", processes=(far,)),
    ]
    assert list(machine.holders(rows)) == [far]


def test_this_machine() -> None:
    settings = machine.sysctls()
    assert len(settings["net.ipv4.ip_local_port_range"].split()) == 2
    assert "net.ipv4.conf.lo.accept_redirects" in settings
    assert socket.gethostname().lower() in machine.own_names()
    found: list[str] = []
    facts = machine.read([], found)
    assert facts["namespace"] == os.stat("/proc/self/ns/net").st_ino
