"""How many cheap frames are too many: the bound holds per kind and per window."""

from __future__ import annotations

import pytest

from socketkit.http.floods import MOST_OF_HTTP2, SMALL_BYTES, WINDOW_SECONDS, Floods, kind_of, kind_of_answer
from socketkit.http.frame_heads import FrameHead

from .raw_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)


def head(kind: int, flags: int = 0, content: int = 0) -> FrameHead:
    return FrameHead(kind, flags, content, content)


HEADS = {
    "resets": head(RST_STREAM),
    "pings": head(PING),
    "settings": head(SETTINGS),
    "acknowledgements": head(SETTINGS, ACK),
    "priorities": head(PRIORITY),
    "window updates": head(WINDOW_UPDATE),
    "continuations": head(CONTINUATION),
    "empty data frames": head(DATA),
    "small data frames": head(DATA, 0, 1),
    "unknown frames": head(0x16),
}


@pytest.mark.parametrize("name", HEADS)
def test_one_more_than_the_bound_is_too_many(name: str) -> None:
    floods = Floods(MOST_OF_HTTP2)
    assert not any(floods.passed(kind_of(HEADS[name]), 1.0) for _ in range(MOST_OF_HTTP2[name]))
    assert floods.passed(kind_of(HEADS[name]), 1.0)
    assert name in floods.told


def test_resets_that_a_peer_brings_upon_himself_are_bounded() -> None:
    floods = Floods(MOST_OF_HTTP2)
    assert not any(
        floods.passed(kind_of_answer(head(RST_STREAM)), 1.0)
        for _ in range(MOST_OF_HTTP2["streams that had to be reset"])
    )
    assert not floods.passed(kind_of_answer(head(PING, ACK)), 1.0)
    assert floods.passed(kind_of_answer(head(RST_STREAM)), 1.0)


def test_what_we_gave_a_reason_for_is_no_flood() -> None:
    floods, most = Floods(MOST_OF_HTTP2), MOST_OF_HTTP2["pings"]
    floods.excuse("pings", 50)
    assert not any(floods.passed("pings", 1.0) for _ in range(most + 50))
    assert floods.passed("pings", 1.0)


def test_a_new_window_begins_afresh() -> None:
    floods = Floods(MOST_OF_HTTP2)
    for _ in range(MOST_OF_HTTP2["pings"]):
        floods.passed(kind_of(HEADS["pings"]), 1.0)
    assert not floods.passed(kind_of(HEADS["pings"]), 1.0 + WINDOW_SECONDS)


def test_what_is_bounded_otherwise_is_no_flood() -> None:
    floods = Floods(MOST_OF_HTTP2)
    for _ in range(10_000):
        assert not floods.passed(kind_of(head(DATA, 0, SMALL_BYTES)), 1.0)
        assert not floods.passed(kind_of(head(DATA, END_STREAM)), 1.0)
        assert not floods.passed(kind_of(head(HEADERS)), 1.0)
        assert not floods.passed(kind_of(head(GOAWAY)), 1.0)
