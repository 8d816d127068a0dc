"""What the tests do with hosts: open sockets in them, name their addresses, wait for what may not come."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from socketkit import Datagram, Datagrams, Messages, bind, connect
from tests.threats.namespaces import Host

PATIENCE_SECONDS = 5.0


def ip(host: Host, family: str) -> str:
    return host.ip4 if family == "4" else host.ip6


def at(address: str, port: int | None, *parameters: str) -> str:
    """`udp://address:port?plaintext=yes&...`"""
    where = f"[{address}]" if ":" in address else address
    return f"udp://{where}:{port}?{'&'.join(('plaintext=yes', *parameters))}"


async def bound(host: Host, address: str, port: int = 0, *parameters: str) -> Datagrams:
    with host.entered():
        return await bind(at(address, port, *parameters))


async def connected(host: Host, address: str, port: int | None, *parameters: str) -> Messages:
    with host.entered():
        return await connect(at(address, port, *parameters), Messages)


def plain(host: Host, family: str, port: int = 0) -> socket.socket:
    """A socket of the standard library in a host: what socketkit does not decide."""
    with host.entered():
        made = socket.socket(socket.AF_INET if family == "4" else socket.AF_INET6, socket.SOCK_DGRAM)
    made.bind(("0.0.0.0" if family == "4" else "::", port))
    made.settimeout(PATIENCE_SECONDS)
    return made


async def next_of(receiver: Datagrams) -> Datagram:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await receiver.receive()


async def until_heard(receiver: Datagrams, repeat: Callable[[], Awaitable[None]]) -> None:
    """What is sent to a group once, a wire that has just come up may lose."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            await repeat()
            try:
                async with asyncio.timeout(0.1):
                    await receiver.receive_many()
                    return
            except TimeoutError:
                continue


async def heard(receiver: Datagrams, marker: bytes) -> list[bytes]:
    """What comes before the marker."""
    got = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (datagram := await receiver.receive()).data != marker:
            got.append(datagram.data)
    return got


def join_by_wire(one: Host, other: Host, name: str, subnet: str) -> None:
    """One more wire, between these two alone: the interface `name` in both, `subnet`.1 and `subnet`.2."""
    one.run("ip", "link", "add", name, "type", "veth", "peer", "name", name, "netns", other.namespace)
    for number, host in enumerate((one, other), 1):
        host.run("ip", "addr", "add", f"{subnet}.{number}/24", "dev", name)
        host.run("ip", "link", "set", name, "up")


async def raised(repeat: Any, *kinds: type[Exception]) -> Exception:
    """What a call ends with, repeated until what it causes elsewhere has come back."""
    for _ in range(200):
        try:
            await repeat()
        except kinds as failure:
            return failure
        await asyncio.sleep(0.01)
    raise AssertionError(f"none of {kinds} was raised")
