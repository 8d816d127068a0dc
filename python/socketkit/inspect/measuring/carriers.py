"""What an address carries, and what that means for a bench: which shape, and how large a message is by itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ...errors import Unsupported, raisable
from ...limits import Limits
from ...schemes import SCHEMES
from ...verbs import connect

if TYPE_CHECKING:
    from typing import Literal

    from ...endpoint import Endpoint

    Shape = Literal["stream", "messages", "datagrams"]


def shape_of(endpoint: Endpoint) -> Shape:
    """Raises Unsupported for an address behind which no server can stand."""
    scheme = SCHEMES[endpoint.scheme]
    if endpoint.carrier in ("icmp", "ip", "ethernet"):
        reason = "no program listens on a raw socket: bench udp:// or tcp:// there, or `socketkit ping` the host"
        raise raisable(Unsupported)("bench", endpoint, reason)
    if endpoint.scheme == "fd":
        reason = "a test opens several connections, and this is one: write the address that it is connected to"
        raise raisable(Unsupported)("bench", endpoint, reason)
    if "Stream" in scheme.shapes:
        return "stream"
    return "datagrams" if "Datagrams" in scheme.shapes or endpoint.scheme == "dgram+unix" else "messages"


def opened(endpoint: Endpoint, shape: Shape) -> Any:
    """A connection of that shape, as `connect` gives it."""
    if shape == "stream":
        return connect(endpoint, limits=LIMITS)
    from ...messages import Messages

    return connect(endpoint, Messages, limits=LIMITS)


def widen(connection: Any) -> None:
    """Let the kernel keep as much as it may for a socket of datagrams: what is lost is to be lost on the way.

    A batch comes as one packet to the kernel (GRO), of which the usual buffer holds three.
    """
    import socket

    with socket.socket(fileno=os.dup(connection.fileno())) as view:
        view.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)


def usual_bytes(connection: Any, shape: Shape) -> int:
    """What is sent at a time if nobody says otherwise.

    Streams: iperf3's size. Datagrams to other machines: what fits the path in one packet, 1,448 at most.
    """
    if shape == "stream":
        return CHUNK_BYTES
    if connection.peer.endpoint.carrier.startswith("udp"):
        path_bytes = connection.path_mtu_bytes or ETHERNET_BYTES
        return int(min(DATAGRAM_BYTES, path_bytes - HEADERS_BYTES))
    return int(min(MESSAGE_BYTES, connection.max_message_bytes))


def usual_rate(endpoint: Endpoint) -> int:
    """In bits per second, if nobody says otherwise: UDP gives way to nobody, so it has to be asked for more."""
    return DATAGRAM_RATE if endpoint.carrier.startswith("udp") else 0


CHUNK_BYTES = 131_072
MESSAGE_BYTES = 16_384
DATAGRAM_BYTES = 1_448
ETHERNET_BYTES = 1_500
HEADERS_BYTES = 48  # IPv6 and UDP
DATAGRAM_RATE = 1_000_000  # iperf3's
RECEIVE_BUFFER_BYTES = 4_194_304  # the kernel takes net.core.rmem_max for it, if that is less

# Fewer and longer turns for sender and receiver than with the usual buffers: a third more where they share a busy core.
LIMITS = Limits(notsent_bytes=1_048_576, write_high_bytes=1_048_576, write_low_bytes=524_288)
