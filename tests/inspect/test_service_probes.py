"""What services say, and what is asked of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.inspect.service_probes import (
    UDP_PORTS,
    Service,
    answer,
    banner,
    is_tls,
    printable,
    request,
    udp_answer,
    udp_probe,
)


@pytest.mark.parametrize(
    ("data", "service"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", Service("ssh", "OpenSSH_9.2p1 Debian")),
        (b"220 mail.example ESMTP Postfix\r\n", Service("smtp", "mail.example ESMTP Postfix")),
        (b"220 ProFTPD Server\r\n", Service("ftp", "ProFTPD Server")),
        (b"+OK ready\r\n", Service("pop3", "+OK ready")),
        (b"* OK IMAP4rev1\r\n", Service("imap", "* OK IMAP4rev1")),
        (b"RFB 003.008\n", Service("vnc", "003.008")),
        (b"\x0a\0\0\0\x0a8.0.36\0rest", Service("mysql", "8.0.36")),
        (b"\xff\xfd\x18", Service("telnet")),
        (b"hello\n", Service("", "hello")),
        (b"", Service("")),
    ],
)
def test_greetings(data: bytes, service: Service) -> None:
    assert banner(data) == service


@pytest.mark.parametrize(
    ("data", "service"),
    [
        (b"HTTP/1.1 200 OK\r\nX: y\r\nServer: nginx\r\n\r\nServer: no", Service("http", "nginx")),
        (b"HTTP/1.0 404 no\r\n\r\n", Service("http")),
        (b"-ERR unknown command\r\n", Service("redis")),
        (b"ERROR\r\n", Service("memcached")),
        (b"AMQP\0\0\x09\x01", Service("amqp")),
        (b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0", Service("http", "HTTP/2")),
        (b"", Service("")),
    ],
)
def test_answers(data: bytes, service: Service) -> None:
    assert answer(data) == service


def test_who_wants_tls_is_known() -> None:
    assert is_tls(b"\x15\x03\x01\0\x02\x02\x16")
    assert is_tls(b"HTTP/1.1 400 Bad Request\r\n")
    assert not is_tls(b"HTTP/1.1 200 OK\r\n")
    assert not is_tls(b"")


def test_request_is_one_of_http() -> None:
    assert request("nas.example").startswith(b"HEAD / HTTP/1.1\r\nHost: nas.example\r\n")
    assert request("nas.example").endswith(b"\r\n\r\n")


@pytest.mark.parametrize("port", UDP_PORTS)
def test_every_known_port_has_a_probe(port: int) -> None:
    assert 4 < len(udp_probe(port)) <= 1_200
    assert udp_answer(port, b"") == Service("")


def test_probe_of_snmp_is_whole() -> None:
    probe = udp_probe(161)
    assert probe[1] == len(probe) - 2


def test_other_ports_get_an_empty_datagram() -> None:
    assert udp_probe(9) == b""
    assert udp_answer(9, b"anything") == Service("")


@pytest.mark.parametrize(
    ("port", "data", "name"),
    [
        (53, b"\x12\x34\x81\x80" + bytes(8), "dns"),
        (5353, b"\0\0\x84\0" + bytes(8), "mdns"),
        (123, b"\x24\x02" + bytes(46), "ntp"),
        (161, b"\x30\x05\x02\x01\0", "snmp"),
        (1900, b"HTTP/1.1 200 OK\r\nSERVER: x\r\n\r\n", "ssdp"),
        (137, b"\0\0\x84\0" + bytes(10), "netbios-ns"),
        (3478, b"\1\1\0\0\x21\x12\xa4\x42" + bytes(12), "stun"),
        (443, b"\xc0\0\0\0\0\x08", ""),
        (443, b"\xc0\0\0\0\0\x08" + bytes(20), "quic"),
        (111, bytes(4) + b"\0\0\0\1" + bytes(16), "portmapper"),
        (5060, b"SIP/2.0 200 OK\r\nServer: x\r\n\r\n", "sip"),
        (5683, b"\x60\x45\0\1", "coap"),
    ],
)
def test_datagrams(port: int, data: bytes, name: str) -> None:
    assert udp_answer(port, data).name == name


def test_description_of_snmp() -> None:
    data = b"\x30\x20" + b"\x06\x08\x2b\x06\x01\x02\x01\x01\x01\x00" + b"\x04\x05Linux"
    assert udp_answer(161, data) == Service("snmp", "Linux")


def test_text_of_strangers_is_harmless() -> None:
    assert printable(b"a\x1b[2Jb\r\n") == "a [2Jb"
    assert len(printable(b"x" * 10_000)) == 120


@given(st.binary(max_size=200), st.sampled_from([*UDP_PORTS, 9]))
def test_anything_may_come(data: bytes, port: int) -> None:
    for service in (banner(data), answer(data), udp_answer(port, data)):
        assert (service.name + service.product).isprintable()
