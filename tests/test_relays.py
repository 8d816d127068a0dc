"""Which relay joins what, and what is refused with the remedy."""

from __future__ import annotations

from typing import Any

import pytest

import socketkit.sync
from socketkit import Endpoint, bind, connect, listen, relay
from socketkit.connection import Stream
from socketkit.errors import Unsupported
from socketkit.forwarding import Forward
from socketkit.message_forwarding import MessageForward
from socketkit.message_relaying import MessageRelay
from socketkit.messages import Messages
from socketkit.relaying import Relay
from socketkit.relays import shape_of
from socketkit.testing import message_pair, stream_pair
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_kinds_of_relay(run: Run) -> None:
    async def main() -> None:
        async with message_pair() as (a, b), stream_pair() as (c, d):
            assert isinstance(relay(a, b), MessageRelay)
            assert isinstance(relay(c, d), Relay)
            assert isinstance(relay(a, c, messages="lines"), MessageRelay)
            with pytest.raises(TypeError, match='messages="lines" or messages="lengths"'):
                relay(a, c)  # type: ignore[call-overload]
            with pytest.raises(TypeError, match="both sides keep borders: leave"):
                relay(a, b, messages="lines")  # type: ignore[call-overload]
            with pytest.raises(TypeError, match="neither side has messages"):
                relay(c, d, messages="lines")  # type: ignore[call-overload]
            with pytest.raises(ValueError, match="not 'whole'"):
                relay(a, c, messages="whole")  # type: ignore[call-overload]
            for wrong in (None, 7):
                with pytest.raises(TypeError, match="two streams, two Messages"):
                    relay(a, wrong)  # type: ignore[call-overload]
                with pytest.raises(TypeError, match="two streams, two Messages"):
                    relay(wrong, "tcp://localhost:1")  # type: ignore[call-overload]

    run(main())


def test_kinds_of_forward(run: Run) -> None:
    async def main() -> None:
        async with (
            listen("mem://streams") as streams,
            listen("mem://messages", Messages) as messages,
            bind("udp://localhost:0") as datagrams,
        ):
            assert type(relay(streams, "tcp://localhost:1")) is Forward
            made: list[Any] = [
                relay(messages, "udp://localhost:1"),
                relay(datagrams, "seqpacket+tls://localhost:1"),
                relay(datagrams, "tcp://localhost:1", messages="lengths"),
                relay(streams, "udp://localhost:1", messages="lines"),
            ]
            assert {type(each) for each in made} == {MessageForward}
            for a, b in ((streams, "udp://localhost:1"), (messages, "tcp://localhost:1"), (datagrams, "unix:///x")):
                with pytest.raises(TypeError, match="a stream has no borders"):
                    relay(a, b)

    run(main())


@pytest.mark.parametrize(
    ("target", "keeps", "cut", "shape"),
    [
        ("tcp://x:1", True, None, Stream),
        ("udp://x:1", False, None, Messages),
        ("mem://x", False, None, Stream),
        ("mem://x", True, None, Messages),
        ("mem://x", False, "lines", Messages),
        ("mem://x", True, "lines", Stream),
    ],
)
def test_shape_of_a_target(target: str, keeps: bool, cut: str | None, shape: type) -> None:
    assert shape_of(Endpoint.parse(target), keeps, cut) is shape


def test_nobody_connects_to_frames(run: Run) -> None:
    async def main() -> None:
        async with bind("udp://localhost:0") as datagrams:
            with pytest.raises(Unsupported, match=r"relay raw\+ethernet://lo: it has no connections.*not to"):
                relay(datagrams, "raw+ethernet://lo")

    run(main())


def test_blocking_ones_are_refused(run: Run) -> None:
    async def main() -> None:
        async with bind("udp4://127.0.0.1:0") as datagrams, connect(datagrams.local, Messages) as ours:
            with socketkit.sync.connect(datagrams.local, Messages) as blocking:
                with pytest.raises(TypeError, match="blocking"):
                    relay(ours, blocking)  # type: ignore[call-overload]
                with pytest.raises(TypeError, match=r"in asyncio\.run"):
                    socketkit.sync.relay(blocking, blocking)  # type: ignore[call-overload]

    run(main())
