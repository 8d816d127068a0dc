"""Who made a Unix socket, by the kernel's socket table."""

from __future__ import annotations

import os
import socket

import pytest

from socketkit.types import owner
from socketkit.types.owner import peer_owner

pytestmark = pytest.mark.usefixtures("no_leaks")

NAME = f"\0socketkit-owner-{os.getpid()}"


def test_our_own() -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        there.bind(NAME)
        assert peer_owner(sock) is None, "it has no peer"
        sock.connect(NAME)
        assert peer_owner(sock) == os.geteuid()


@pytest.mark.privileged
def test_a_strangers() -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        there.bind(NAME)
        os.fchown(there.fileno(), 65534, 65534)  # as if that user had made it
        sock.connect(NAME)
        assert peer_owner(sock) == 65534


def test_a_peer_that_is_gone() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
            there.bind(NAME)
            sock.connect(NAME)
        assert peer_owner(sock) is None


def test_a_kernel_without_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        assert peer_owner(ours) == os.geteuid()
        monkeypatch.setattr(owner, "NETLINK_SOCK_DIAG", 31)
        assert peer_owner(ours) is None
