"""Which relay joins what: streams, messages, or one of each, which takes to be told what a message is in the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .connection import Stream
from .cutting import RELAYED_CUTS
from .errors import Unsupported, raisable
from .listener import Listener
from .messages import Messages
from .opening import keeps_borders
from .schemes import SCHEMES

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .forwarding import Forward
    from .message_relaying import MessageRelay, Side
    from .relaying import Relay


def join(a: Any, b: Any, cut: str | None) -> Relay | MessageRelay:
    """The relay of two connections; TypeError if they cannot be joined, or not so."""
    keeping = [_keeps(side) for side in (a, b)]
    _require_cut(keeping[0], keeping[1], cut)
    if not keeping[0] and not keeping[1]:
        from .relaying import Relay

        return Relay(a, b)
    from .limits import Limits
    from .message_relaying import CutStream, MessageRelay

    def side(connection: Any, keeps: bool) -> Side:
        return connection if keeps else CutStream(connection, cut or "", Limits.message_bytes)

    return MessageRelay(side(a, keeping[0]), side(b, keeping[1]))


def forward(a: Any, target: Endpoint, cut: str | None) -> Forward:
    """The relay of who comes in at `a` to an address; TypeError if they cannot be joined, or not so.

    Unsupported if nobody can connect to the address.
    """
    from .datagrams import Datagrams

    if isinstance(a, Datagrams):
        keeps = True
    elif isinstance(a, Listener):
        keeps = keeps_borders(a._kind)
    else:
        raise TypeError(MEANT)
    _require_connections(target)
    shape = shape_of(target, keeps, cut)
    _require_cut(keeps, shape is Messages, cut)
    if not keeps and shape is Stream:
        from .forwarding import Forward

        return Forward(a, target)
    from .message_forwarding import MessageForward

    return MessageForward(a, target, shape, cut)


def shape_of(target: Endpoint, keeps: bool, cut: str | None) -> type[Stream | Messages]:
    """What a connection to the target is, when callers' connections keep borders or do not."""
    shapes = SCHEMES[target.scheme].shapes
    if "Stream" in shapes and "Messages" in shapes:
        # mem and fd are whatever they are opened as: the same as the callers', unless these are to be cut.
        return Messages if keeps == (cut is None) else Stream
    return Messages if "Messages" in shapes else Stream


def _require_connections(target: Endpoint) -> None:
    shapes = SCHEMES[target.scheme].shapes
    if "Stream" not in shapes and "Messages" not in shapes:
        reason = "it has no connections, of which each caller could have one: it can be relayed from, but not to"
        raise raisable(Unsupported)("relay", target, reason)


def _keeps(side: Any) -> bool:
    if hasattr(side, "__next__"):
        raise TypeError("relay: this connection is a blocking one, of socketkit.sync; connect by socketkit.connect")
    if isinstance(side, Messages):
        return True
    if isinstance(side, Stream):
        return False
    raise TypeError(MEANT)


def _require_cut(left: bool, right: bool, cut: str | None) -> None:
    if cut is not None and cut not in RELAYED_CUTS:
        raise ValueError(f'relay: messages= is "lines" or "lengths", not {cut!r}')
    if left != right and cut is None:
        raise TypeError(
            "relay: a stream has no borders, and messages need them: say what a message is in the stream, "
            'messages="lines" or messages="lengths"'
        )
    if left == right and cut is not None:
        what = "both sides keep borders" if left else "neither side has messages"
        raise TypeError(f"relay: {what}: leave messages= out")


MEANT = "relay takes two streams, two Messages, or a listener or a datagram socket and an address"
