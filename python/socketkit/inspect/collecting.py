"""First bytes of several network namespaces: a collector in each that has sockets worth watching.

Our own has the first and largest ring. Others come and go with their programs: a collector that stayed would keep the
namespace alive, so it goes as soon as nobody else is in it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import SocketError
from .first_bytes import TRANSPORTS, FirstBytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from .._core import FlowEvidence, SocketEntry

__all__ = ["Collecting"]


class Collecting:
    """Collects in our own namespace until it is closed, and in those that `follow` is told of.

    At most `flows` are known at a time in our own, and `flows_elsewhere` in each other; of others there are `most`.
    Raises SocketError where packets may not be read (CAP_NET_RAW).
    """

    def __init__(self, *, flows: int = 65_536, flows_elsewhere: int = 8_192, most: int = 16) -> None:
        self._own = os.stat("/proc/thread-self/ns/net").st_ino
        self._collectors = {self._own: FirstBytes(flows=flows)}
        self._refused: set[int] = set()  # they are not asked again and again
        self._flows_elsewhere = flows_elsewhere
        self._most = most

    def follow(self, namespaces: Mapping[int, str]) -> None:
        """Collect in these (by inode, with the name that an entry has) and no longer in others.

        Where that is refused, or there are too many, uses are told without bytes, as they are without a collector.
        """
        for gone in self._collectors.keys() - namespaces.keys() - {self._own}:
            self._collectors.pop(gone).close()
        self._refused &= namespaces.keys()
        for inode, name in namespaces.items():
            if inode in self._collectors or inode in self._refused or not name or len(self._collectors) > self._most:
                continue
            try:
                self._collectors[inode] = FirstBytes(
                    namespace=_place(name), flows=self._flows_elsewhere, buffer_bytes=BUFFER_BYTES_ELSEWHERE
                )
            except SocketError:
                self._refused.add(inode)

    def lookup(self, entry: SocketEntry) -> FlowEvidence | None:
        """What was seen of a socket's flow, in its namespace."""
        collector = self._collectors.get(entry.namespace)
        return None if collector is None else collector.lookup(entry)

    def names(self, entry: SocketEntry) -> tuple[str, ...]:
        """Which names led to the peer's address, in its namespace, by the answers that were seen; the latest last."""
        collector = self._collectors.get(entry.namespace)
        if collector is None or entry.scheme not in TRANSPORTS or entry.peer is None or entry.peer.host is None:
            return ()
        known = collector.resolved(entry.peer.host)
        return () if known is None else known.names

    @property
    def own(self) -> FirstBytes:
        """What collects in our own namespace."""
        return self._collectors[self._own]

    @property
    def namespaces(self) -> frozenset[int]:
        """Where it collects, by inode."""
        return frozenset(self._collectors)

    def close(self) -> None:
        """Stop everywhere; what was known is gone. Idempotent."""
        while self._collectors:
            self._collectors.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _place(name: str) -> str:
    """The file that leads to a namespace of this name ("pid 123", or that of `ip netns`)."""
    kind, _, pid = name.partition(" ")
    return f"/proc/{pid}/ns/net" if kind == "pid" and pid.isdigit() else f"/run/netns/{name}"


BUFFER_BYTES_ELSEWHERE = 1 << 20
