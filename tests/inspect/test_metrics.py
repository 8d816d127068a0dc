"""Metrics, as the parser of Prometheus's own client reads them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from socketkit.inspect.metrics import CONTENT_TYPE, Found, exposition
from socketkit.inspect.watch import watch
from tests.cli.test_watch_rows import LISTENER, WEB, Scripted
from tests.conftest import Run

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Source(Scripted):
    lost = 3
    missed = 0
    first_bytes = True


def read(text: str) -> Samples:
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation and family.type in ("counter", "gauge") for family in families)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_what_is_open_and_what_was_counted() -> None:
    samples = read(exposition(Source()))
    assert value(samples, "socketkit_sockets", scheme="tcp", state="established", use="web") == 2  # not the closed one
    assert value(samples, "socketkit_listeners", exposure="everywhere") == 1
    assert value(samples, "socketkit_listeners", exposure="loopback") == 0
    assert value(samples, "socketkit_opened_total") == 2
    assert value(samples, "socketkit_closed_total") == 1
    assert value(samples, "socketkit_ends_lost_total") == 3
    assert value(samples, "socketkit_received_bytes_total") == 74_000
    assert (value(samples, "socketkit_complete"), value(samples, "socketkit_first_bytes")) == (0, 1)


def test_findings() -> None:
    samples = read(exposition(Source(), Found({("OP1", "high"): 2, ("UE1", "low"): 0}, 1_700_000_000.5)))
    assert value(samples, "socketkit_findings", id="OP1", severity="high") == 2
    assert value(samples, "socketkit_findings", id="UE1", severity="low") == 0
    assert value(samples, "socketkit_audit_time_seconds") == 1_700_000_000.5
    assert not any(name == "socketkit_findings" for name, _ in read(exposition(Source())))


def test_a_counter_never_falls() -> None:
    source: Any = Source()
    highest: dict[str, float] = {}
    assert value(read(exposition(source, highest=highest)), "socketkit_received_bytes_total") == 74_000
    look: Any = source.ledger.seen
    look([LISTENER, replace(WEB, received_bytes=3_999, sent_bytes=100)], 103.0)
    assert source.totals.received_bytes == 73_999
    assert value(read(exposition(source, highest=highest)), "socketkit_received_bytes_total") == 74_000


def test_series_do_not_grow_with_connections() -> None:
    source: Any = Source()
    look: Any = source.ledger.seen
    before = len(read(exposition(source)))
    look([LISTENER, WEB, *(replace(WEB, cookie=100 + number) for number in range(1_000))], 103.0)
    assert len(source.rows) > 1_000
    assert len(read(exposition(source))) == before


def test_labels_are_escaped() -> None:
    entry: Any = SimpleNamespace(scheme='a"b\\c\nd', state="listening", exposure="loopback", local=None)
    row = SimpleNamespace(closed_at=None, entry=entry, state="listening", use=SimpleNamespace(name="web"))
    source: Any = SimpleNamespace(
        rows=[row], totals=Source().totals, complete=True, lost=0, missed=0, first_bytes=False
    )
    assert value(read(exposition(source)), "socketkit_sockets", scheme='a"b\\c\nd', state="listening", use="web") == 1


@pytest.mark.slow
def test_of_this_machine(run: Run) -> None:
    async def main() -> None:
        async with watch(namespaces="own") as watching:
            assert value(read(exposition(watching)), "socketkit_ends_lost_total") == 0

    run(main())
    assert "0.0.4" in CONTENT_TYPE
