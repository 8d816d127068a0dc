"""A pair of connected messages over each type, and a pair of bound sockets over each type of datagram."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from socketkit import Datagrams, Limits, Messages, connect
from socketkit.testing import datagram_pair, message_pair
from tests.conformance.transports import LIMITS

MakeMessages = Callable[[], AbstractAsyncContextManager[tuple[Messages, Messages]]]
MakeDatagrams = Callable[[], AbstractAsyncContextManager[tuple[Datagrams, Datagrams]]]


@dataclass(frozen=True)
class Type:
    url: str
    lossy: bool = False
    ends: bool = True
    halves: bool = True
    empty: bool = True
    # The same to the engine as another one here, by another name: how it waits and cancels was seen there.
    variant: bool = False

    def address(self, folder: Path, number: int = 0) -> str:
        """One on which nobody listens yet."""
        return self.url.format(folder=folder, number=number, pid=os.getpid())


MESSAGES = {
    "udp4": Type("udp://127.0.0.1:0", lossy=True, ends=False),
    "udp6": Type("udp://[::1]:0", lossy=True, ends=False, variant=True),
    "dgram-unix": Type("dgram+unix://{folder}/{number}.sock", ends=False),
    "seqpacket-unix": Type("seqpacket+unix://{folder}/{number}.sock"),
    "seqpacket-abstract": Type("seqpacket+unix://@socketkit-test-{pid}-{number}", variant=True),
    "seqpacket-tcp": Type("seqpacket+tcp://127.0.0.1:0"),
    "seqpacket-tls": Type("seqpacket+tls://127.0.0.1:0"),
    "mem": Type("mem://"),
    "fd-seqpacket": Type("fd", variant=True),
    "fd-dgram": Type("fd", ends=False, variant=True),
}
# Those that wait for a caller.
LISTENING = ("seqpacket-unix", "seqpacket-abstract", "seqpacket-tcp", "seqpacket-tls", "mem")
# Types that not every kernel has, by what a socket of theirs is made of.
OF_SOME_KERNELS = {
    "sctp": (Type("sctp://127.0.0.1:0", halves=False, empty=False), (socket.AF_INET, socket.SOCK_STREAM, 132)),
    "seqpacket-vsock": (Type("seqpacket+vsock://1:0", empty=False), (socket.AF_VSOCK, socket.SOCK_SEQPACKET, 0)),
}

DATAGRAMS = {
    "udp4": Type("udp://127.0.0.1:0", lossy=True),
    "udp6": Type("udp://[::1]:0", lossy=True),
    "dgram-unix": Type("dgram+unix://{folder}/{number}.sock"),
    "dgram-abstract": Type("dgram+unix://@socketkit-test-{pid}-{number}"),
}


def make_messages(name: str, folder: Path, limits: Limits = LIMITS) -> MakeMessages:
    """The factory of a type of `MESSAGES`; paths are made in `folder`."""
    if name in ("fd-seqpacket", "fd-dgram"):
        kind = socket.SOCK_SEQPACKET if name == "fd-seqpacket" else socket.SOCK_DGRAM
        return lambda: adopted_messages(kind, limits)
    found = OF_SOME_KERNELS[name][0] if name in OF_SOME_KERNELS else MESSAGES[name]
    numbers = itertools.count()
    return lambda: message_pair(found.address(folder, next(numbers)), limits=limits)


def make_datagrams(name: str, folder: Path, limits: Limits = LIMITS) -> MakeDatagrams:
    numbers = itertools.count()
    return lambda: datagram_pair(DATAGRAMS[name].address(folder, next(numbers)), limits=limits)


@asynccontextmanager
async def adopted_messages(kind: int, limits: Limits) -> AsyncIterator[tuple[Messages, Messages]]:
    """Two ends that something else made, taken over by number."""
    ends = socket.socketpair(socket.AF_UNIX, kind)
    ours, theirs = [await connect(f"fd://{end.detach()}", Messages, limits=limits) for end in ends]
    try:
        yield ours, theirs
    finally:
        ours.abort()
        theirs.abort()


def kernel_has(name: str) -> bool:
    """Whether a socket of this type can be made, and reached within this machine."""
    family, kind, protocol = OF_SOME_KERNELS[name][1]
    try:
        with socket.socket(family, kind, protocol) as probe:
            if family == socket.AF_VSOCK:
                probe.bind((1, socket.VMADDR_PORT_ANY))  # the loopback transport is a module of its own
    except OSError:
        return False
    return True
