"""How many cheap frames are too many: the bound holds per kind and per window."""

from __future__ import annotations

import h2.events
import pytest

from socketkit.http.floods import MOST, WINDOW_SECONDS, Floods


def data(payload: bytes, *, ended: bool = False) -> h2.events.DataReceived:
    event = h2.events.DataReceived(stream_id=1, data=payload, flow_controlled_length=len(payload))
    if ended:
        event.stream_ended = h2.events.StreamEnded(stream_id=1)
    return event


EVENTS = {
    "resets": h2.events.StreamReset(stream_id=1),
    "pings": h2.events.PingReceived(ping_data=b"\0" * 8),
    "settings": h2.events.RemoteSettingsChanged(),
    "empty data frames": data(b""),
}


@pytest.mark.parametrize("name", EVENTS)
def test_one_more_than_the_bound_is_too_many(name: str) -> None:
    floods = Floods()
    assert not any(floods.passed(EVENTS[name], 1.0) for _ in range(MOST[name]))
    assert floods.passed(EVENTS[name], 1.0)
    assert name in floods.told


def test_a_new_window_begins_afresh() -> None:
    floods = Floods()
    for _ in range(MOST["pings"]):
        floods.passed(EVENTS["pings"], 1.0)
    assert not floods.passed(EVENTS["pings"], 1.0 + WINDOW_SECONDS)


def test_data_is_no_flood() -> None:
    floods = Floods()
    for _ in range(10_000):
        assert not floods.passed(data(b"x"), 1.0)
        assert not floods.passed(data(b"", ended=True), 1.0)
        assert not floods.passed(h2.events.RequestReceived(stream_id=1, headers=[]), 1.0)
