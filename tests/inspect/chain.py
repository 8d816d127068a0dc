"""A chain of hosts that are network namespaces: `near`, routers, `far`, each joined to the next by a wire of its own.

Link number N (from 0) has 10.88.N.0/24 and fd00:88:N::/64; the nearer end of it is .1, the farther one .2. No namespace
has an interface in the machine's own, so no packet gets out. Names are like those of tests/threats/namespaces.py, which
removes what a run that crashed has left.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from ipaddress import IPv6Address
from itertools import count, pairwise
from typing import Self

from tests.threats.namespaces import FOLDER, PREFIX, Host


class Chain:
    """`with Chain(routers=3) as chain: chain.near.run(...)`; routers are `chain.routers`."""

    _numbers = count(1)

    def __init__(self, routers: int = 3) -> None:
        network = f"{PREFIX}{os.getpid()}-chain{next(self._numbers)}"
        names = ["near", *(f"r{number}" for number in range(1, routers + 1)), "far"]
        self.hosts = [Host(network, name, number) for number, name in enumerate(names, 1)]
        self.near, *self.routers, self.far = self.hosts
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for host in self.hosts:
            host.close()
            if (FOLDER / host.namespace).exists():
                subprocess.run(["ip", "netns", "del", host.namespace], check=True, timeout=20)

    @property
    def target(self) -> str:
        """The address of `far`."""
        return f"10.88.{len(self.routers)}.2"

    @property
    def target6(self) -> str:
        return self.hop6(len(self.routers) + 1)

    def hop(self, number: int) -> str:
        """The address that router `number` (from 1) shows to `near`."""
        return f"10.88.{number - 1}.2"

    def hop6(self, number: int) -> str:
        return str(IPv6Address(f"fd00:88:{number - 1}::2"))

    def answer_at_once(self) -> None:
        """Lift the limits on ICMP errors: six in a row to one host and then one a second, fifty in a row in all."""
        for host in self.hosts:
            host.set(ipv4__icmp_ratelimit=0, ipv4__icmp_ratemask=0, ipv6__icmp__ratelimit=0)
            host.run("sysctl", "-q", "-w", "net.ipv6.icmp.ratemask=127")

    def filter(self, host: Host, *rules: str) -> None:
        """Rules of nft in the place where packets are forwarded (`ip daddr ...`) or, with `input `, received."""
        lines = ["table inet t {", "chain f { type filter hook forward priority 0;"]
        lines += [rule for rule in rules if not rule.startswith("input ")]
        lines += ["}", "chain i { type filter hook input priority 0;"]
        lines += [rule.removeprefix("input ") for rule in rules if rule.startswith("input ")]
        host.run("nft", "add table inet t; delete table inet t")
        host.run("nft", "\n".join([*lines, "}", "}"]))

    def _make(self) -> None:
        _ip(f"netns add {host.namespace}" for host in self.hosts)
        for host in self.hosts:
            # No duplicate address detection, nor for link-local addresses: all are usable at once.
            host.set(ipv6__conf__default__accept_dad=0, ipv6__conf__all__accept_dad=0)
        for number, (left, right) in enumerate(pairwise(self.hosts)):
            _ip([f"link add right netns {left.namespace} type veth peer name left netns {right.namespace}"])
            _ip([*self._end("right", number, 1), "link set lo up"], left)
            _ip([*self._end("left", number, 2), "link set lo up"], right)
        last = len(self.hosts) - 2
        for place, host in enumerate(self.hosts):
            if 0 < place < len(self.hosts) - 1:
                host.set(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
            ways = []
            if place <= last:
                ways += [f"route replace default via 10.88.{place}.2", f"route replace default via fd00:88:{place}::2"]
            for link in range(place - 1):
                ways += [
                    f"route replace 10.88.{link}.0/24 via 10.88.{place - 1}.1",
                    f"route replace fd00:88:{link}::/64 via fd00:88:{place - 1}::1",
                ]
            _ip(ways, host)

    @staticmethod
    def _end(interface: str, link: int, end: int) -> list[str]:
        return [
            f"link set {interface} up",
            f"addr add 10.88.{link}.{end}/24 dev {interface}",
            f"addr add fd00:88:{link}::{end}/64 dev {interface} nodad",
        ]


def _ip(lines: Iterable[str], host: Host | None = None) -> None:
    where = ["-n", host.namespace] if host else []
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(
        ["ip", *where, "-batch", "-"], input=text, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, f"ip {where}: {done.stdout}{done.stderr}"
