"""Rows of the socket table that no kernel has: what a finder is given instead of a machine."""

from __future__ import annotations

from itertools import count
from typing import Any

from socketkit import Endpoint
from socketkit.threats.finding import Finding
from socketkit.threats.view import View

NOW = 1_800_000_000.0
_numbers = count(1)


class Program:
    """A process."""

    def __init__(self, name: str = "nginx", **known: Any) -> None:
        self.pid = 1000 + next(_numbers)
        self.name = name
        self.executable: str | None = f"/usr/sbin/{name}"
        self.deleted = False
        self.uid: int | None = 33
        self.user: str | None = "www-data"
        self.unit: str | None = f"{name}.service"
        vars(self).update(known)


class Row:
    """A socket; what is not told is as a TCP socket's without anything to remark."""

    def __init__(self, local: str | None, peer: str | None = None, **known: Any) -> None:
        self.local = Endpoint.parse(local) if local else None
        self.peer = Endpoint.parse(peer) if peer else None
        self.scheme = (self.local.scheme if self.local else "tcp").removesuffix("4").removesuffix("6")
        datagrams = self.scheme.startswith("udp")
        self.state = "established" if peer else "unconnected" if datagrams else "listening"
        self.inode = self.cookie = next(_numbers)
        self.namespace, self.namespace_name = 1, ""
        self.uid, self.user = 33, "www-data"
        self.processes: tuple[Program, ...] | None = (Program(),)
        self.receive_queue = self.send_queue = 0
        self.backlog, self.backlog_limit = (0, 128) if self.state == "listening" else (None, None)
        self.received_bytes = self.sent_bytes = 0
        self.quiet_seconds = self.youngest_seconds = self.oldest_seconds = None
        self.reuse_address = self.reuse_port = self.only_ipv6 = False
        self.exposure = exposure(self.local)
        vars(self).update(known)


class Evidence:
    """What first bytes say."""

    started, confidence, upgraded, looks_random = True, 0.99, False, False
    tls_version: str | None = None
    server_name: str | None = None
    alpn: tuple[str, ...] = ()
    packets = payload_bytes = (0, 0)
    seconds = 0.0
    local_began = False
    ends = (("192.0.2.1", 40_000), ("192.0.2.53", 53))
    sent = received = b""
    transport = "tcp"

    def __init__(self, protocol: str, purpose: str, encrypted: str, **known: Any) -> None:
        self.protocol, self.purpose, self.encrypted = protocol, purpose, encrypted
        vars(self).update(known)


def exposure(local: Endpoint | None) -> str:
    if local is None or local.path is not None:
        return "machine"
    if local.host == "*":
        return "everywhere"
    return "loopback" if str(local.host).startswith("127.") or local.host == "::1" else "network"


def view(*rows: Row, **facts: Any) -> View:
    return View(**{"entries": rows, "now": NOW, "uptime": 1000.0, "namespace": 1, **facts})


def ids(found: Any) -> list[tuple[str, str]]:
    return sorted((one.id, one.severity) for one in found)


def only(found: Any, check: str) -> Finding:
    (one,) = (one for one in found if one.id == check)
    assert isinstance(one, Finding)
    return one
