"""Two hosts, and what may lie between them: loss, a filter, a policer. Scans in them never leave their namespaces.

`Worlds()` has `near`, which scans, and `far`, which listens on ports that `listen` chooses; both are network namespaces
joined by one wire (tests/threats/namespaces.py). A world is what `far` does to packets that come in or go out.
"""

from __future__ import annotations

import resource
import socket
from contextlib import ExitStack
from random import Random
from typing import Self

from tests.threats.namespaces import Network

LOSS_EACH_WAY = """
    chain loss_in { type filter hook prerouting priority -300; numgen random mod 100 < 5 drop
    }
    chain loss_out { type filter hook postrouting priority 300; numgen random mod 100 < 5 drop
    }"""
POLICED = """
    chain policer { type filter hook input priority 0; tcp flags syn limit rate over 10000/second drop
    }"""


class Worlds:
    """`with Worlds() as worlds: ports = worlds.listen(50); worlds.become("loss"); worlds.near.run(...)`"""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.network = self.stack.enter_context(Network("near", "far"))
        self.near, self.far = self.network["near"], self.network["far"]
        self.open: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def listen(self, count: int, seed: int = 1) -> list[int]:
        """Listen on so many ports of `far`, for both families; nobody ever accepts."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < count + 512:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 512), hard))
        ports = Random(seed).sample(range(1, 65_536), count)
        with self.far.entered():
            for port in ports:
                listener = socket.socket(socket.AF_INET6)
                self.stack.callback(listener.close)
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                listener.bind(("::", port))
                listener.listen(64)
        self.open = sorted([*self.open, *ports])
        return self.open

    def become(self, world: str) -> None:
        """clean, loss (5 % each way), dropped (closed ports answer nothing), policed (10,000 SYNs a second)."""
        rules = {"clean": "", "loss": LOSS_EACH_WAY, "policed": POLICED, "dropped": self._filter()}[world]
        self.far.run("nft", f"add table inet world; delete table inet world; add table inet world {{{rules}\n}}")

    def _filter(self) -> str:
        ports = ", ".join(map(str, self.open)) or "0"
        return f"""
    chain filter {{ type filter hook input priority 0; policy drop
        meta l4proto ipv6-icmp accept
        tcp dport {{ {ports} }} accept
    }}"""
