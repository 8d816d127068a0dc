"""WebSocket's frames: a server's side, fed by a client's of the same library."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate

from socketkit.http.floods import MOST_OF_WEBSOCKET
from socketkit.http.frames import MOST_OWED_BYTES, Frames

MOST = 1000


def pair(*, deflate: bool = False) -> tuple[Frames, Connection]:
    frames = Frames(MOST)
    if not deflate:
        return frames, Connection(ConnectionType.CLIENT)
    extension = PerMessageDeflate()
    accepted = frames.accept(f"permessage-deflate; {extension.offer()}")
    assert accepted is not None
    extension.finalize(accepted)
    return frames, Connection(ConnectionType.CLIENT, [extension])


@pytest.mark.parametrize("deflate", [False, True])
def test_messages_come_whole(deflate: bool) -> None:
    frames, client = pair(deflate=deflate)
    sent = client.send(TextMessage("a", message_finished=False)) + client.send(TextMessage("b"))
    sent += client.send(BytesMessage(b"c"))
    got = [event for byte in sent for event in frames.received(bytes([byte]))]
    assert got == [{"type": "websocket.receive", "text": "ab"}, {"type": "websocket.receive", "bytes": b"c"}]


@pytest.mark.parametrize("deflate", [False, True])
def test_a_message_has_a_bound(deflate: bool) -> None:
    frames, client = pair(deflate=deflate)
    assert len(list(frames.received(client.send(BytesMessage(bytes(MOST)))))) == 1
    assert list(frames.received(client.send(BytesMessage(bytes(MOST + 1))))) == []
    assert (frames.closed, frames.close_code) == (True, 1009)
    assert frames.answers()[:1] == b"\x88"
    assert list(frames.received(client.send(TextMessage("more")))) == []


def test_fragments_add_up() -> None:
    frames, client = pair()
    for _ in range(11):
        assert list(frames.received(client.send(BytesMessage(bytes(100), message_finished=False)))) == []
    assert frames.close_code == 1009


def test_what_inflates_without_end_is_not_inflated() -> None:
    frames, _ = pair(deflate=True)
    deflated = zlib.compressobj(wbits=-15)
    bomb = deflated.compress(bytes(100_000_000)) + deflated.flush(zlib.Z_SYNC_FLUSH)
    header = bytes([0xC2, 0x80 | 127]) + len(bomb).to_bytes(8, "big") + bytes(4)  # its mask is zeros
    assert list(frames.received(header + bomb)) == []
    assert frames.close_code == 1009


def test_pings_are_answered_within_a_bound() -> None:
    frames, client = pair()
    list(frames.received(client.send(Ping(b"x" * 100)) * 1000))
    assert 0 < len(frames.answers()) <= MOST_OWED_BYTES + 200
    assert frames.answers() == b""


def test_a_message_in_small_fragments_is_kept_in_one_piece() -> None:
    frames, client = pair()
    for _ in range(500):
        assert list(frames.received(client.send(BytesMessage(b"a", message_finished=False)))) == []
    assert frames._begun is not None and frames._begun.getvalue() == b"a" * 500
    (message,) = frames.received(client.send(BytesMessage(b"b")))
    assert message["bytes"] == b"a" * 500 + b"b"


@pytest.mark.parametrize(
    ("event", "kind"),
    [(Ping(), "pings"), (Pong(), "pongs"), (TextMessage("", message_finished=False), "empty fragments")],
)
def test_cheap_frames_are_bounded_in_time(event: Event, kind: str) -> None:
    frames, client = pair()
    for _ in range(MOST_OF_WEBSOCKET[kind] + 1):
        assert not frames.closed
        list(frames.received(client.send(event), 1.0))
    assert (frames.closed, frames.close_code) == (True, 1008)

    frames, client = pair()
    for second in range(MOST_OF_WEBSOCKET[kind] + 1):
        list(frames.received(client.send(event), float(second)))
    assert not frames.closed


def test_a_close_is_answered() -> None:
    frames, client = pair()
    list(frames.received(client.send(CloseConnection(4000, "bye"))))
    assert (frames.closed, frames.close_code, frames.close_reason) == (True, 4000, "bye")
    client.receive_data(frames.answers())
    assert [event.code for event in client.events() if isinstance(event, CloseConnection)] == [4000]
    assert frames.close(1000, "") == b""


@pytest.mark.parametrize(
    ("offers", "accepted"),
    [
        ("", False),
        ("x-other", False),
        ("permessage-deflate", True),
        ("x-other, permessage-deflate; client_max_window_bits", True),
        ("permessage-deflate; server_max_window_bits=7", False),
        ("permessage-deflate; server_max_window_bits=x", False),
        ("permessage-deflate; server_max_window_bits=x, permessage-deflate", True),
    ],
)
def test_offers(offers: str, accepted: bool) -> None:
    assert (Frames(MOST).accept(offers) is not None) is accepted


@given(st.lists(st.one_of(st.text(max_size=300), st.binary(max_size=300)), max_size=8), st.booleans(), st.data())
def test_any_messages_in_any_pieces(messages: list[str | bytes], deflate: bool, data: st.DataObject) -> None:
    frames, client = pair(deflate=deflate)
    sent = b"".join(client.send(TextMessage(one) if isinstance(one, str) else BytesMessage(one)) for one in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=5)))
    got = []
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        got += [event.get("text", event.get("bytes")) for event in frames.received(sent[start:end])]
    assert got == messages


@given(st.lists(st.binary(max_size=80), max_size=6), st.booleans())
def test_any_bytes(pieces: list[bytes], deflate: bool) -> None:
    frames, _ = pair(deflate=deflate)
    for piece in pieces:
        for event in frames.received(piece):
            assert len(event.get("text", event.get("bytes"))) <= MOST
    assert len(frames.answers()) <= 2 * MOST_OWED_BYTES


@given(
    st.text(max_size=80),
    st.lists(st.sampled_from(["permessage-deflate", ";", ",", "=", "client_max_window_bits", "8", "x"])),
)
def test_any_offer(text: str, words: list[str]) -> None:
    for offer in (text, "".join(words), f"permessage-deflate; {text}"):
        accepted = Frames(MOST).accept(offer)
        assert accepted is None or accepted.isascii()
