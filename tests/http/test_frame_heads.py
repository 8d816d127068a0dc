"""The heads of HTTP/2's frames: the same however the bytes are cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from socketkit.http.frame_heads import FrameHead, FrameHeads

from .raw_frames import ACK, DATA, HEADERS, PADDED, PING, PREFACE, RST_STREAM, SETTINGS, frame

SENT = PREFACE + frame(SETTINGS) + frame(DATA, PADDED, 1, b"\2abc\0\0") + frame(RST_STREAM, 0, 1, bytes(4)) + frame(9)
TOLD = [
    FrameHead(SETTINGS, 0, 0, 0),
    FrameHead(DATA, PADDED, 6, 3),
    FrameHead(RST_STREAM, 0, 4, 4),
    FrameHead(9, 0, 0, 0),
]


def test_heads() -> None:
    assert list(FrameHeads(PREFACE).of(SENT)) == TOLD


@given(st.lists(st.integers(0, len(SENT))))
def test_however_they_are_cut(cuts: list[int]) -> None:
    heads, at = FrameHeads(PREFACE), [0, *sorted(cuts), len(SENT)]
    assert [head for a, b in pairwise(at) for head in heads.of(SENT[a:b])] == TOLD


def test_a_length_is_told_before_the_payload() -> None:
    (head,) = FrameHeads().of(b"\xff\xff\xff\0\0\0\0\0\1")
    assert head.payload_bytes == 0xFFFFFF


def test_padding_of_more_than_the_frame_leaves_nothing() -> None:
    (head,) = FrameHeads().of(frame(DATA, PADDED, 1, b"\xff"))
    assert (head.payload_bytes, head.content_bytes) == (1, 0)


def test_behind_another_preface_nothing_is_a_head() -> None:
    heads = FrameHeads(PREFACE)
    assert list(heads.of(PREFACE[:5])) == []
    assert list(heads.of(b"GET / HTTP/1.1\r\n" + frame(PING))) == []
    assert list(heads.of(frame(PING) * 100)) == []


def test_what_they_say() -> None:
    def head(kind: int, flags: int) -> FrameHead:
        return FrameHead(kind, flags, 0, 0)

    assert head(SETTINGS, ACK).acknowledges and head(PING, ACK).acknowledges and not head(DATA, ACK).acknowledges
    assert head(DATA, ACK).ends_stream and head(HEADERS, ACK).ends_stream and not head(PING, ACK).ends_stream


@given(st.lists(st.binary(max_size=40)))
def test_whatever_comes(pieces: list[bytes]) -> None:
    heads = FrameHeads()
    for piece in pieces:
        list(heads.of(piece))
        assert len(heads._part) < 10
