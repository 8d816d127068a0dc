"""Amounts, rates and times in words."""

from __future__ import annotations

import pytest

from socketkit.cli import units


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1.00 kB"),
        (1_000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (99_960, "100 kB"),
        (999_600, "1.00 MB"),
        (20_000_000, "20.0 MB"),
        (3_210_000_000, "3.21 GB"),
        (45e12, "45.0 TB"),
        (45e15, "45000 TB"),
    ],
)
def test_amount(count: float, text: str) -> None:
    assert units.amount(count) == text
    assert units.rate(count) == f"{text}/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.00 µs"), (43e-6, "43.0 µs"), (999.7e-6, "1.00 ms"), (0.25, "250 ms"), (1, "1.00 s"), (3600, "3600 s")],
)
def test_duration(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 sockets"), (1, "1 socket"), (2, "2 sockets"), (12_345, "12,345 sockets")]
)
def test_plural(count: int, text: str) -> None:
    assert units.plural(count, "socket") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "250 ms"), (119, "119 s"), (120, "2.00 min"), (5_400, "90.0 min"), (9_000, "2.50 h"), (259_200, "3.00 d")],
)
def test_span(seconds: float, text: str) -> None:
    assert units.span(seconds) == text


@pytest.mark.parametrize(
    ("text", "rate"), [("0", 0), ("10M", 10_000_000), ("2.5g", 2_500_000_000), ("100k", 100_000), ("7", 7)]
)
def test_parsed_bit_rate(text: str, rate: int) -> None:
    assert units.parsed_bit_rate(text) == rate


@pytest.mark.parametrize("text", ["", "M", "-1", "1T", "1e3", "nan", "1.2.3", "٣"])
def test_no_bit_rate(text: str) -> None:
    with pytest.raises(ValueError, match="10M"):
        units.parsed_bit_rate(text)


def test_bit_rate() -> None:
    assert [units.bit_rate(rate) for rate in (0, 1_000, 18.2e9)] == ["0 bit/s", "1.00 kbit/s", "18.2 Gbit/s"]


@pytest.mark.parametrize(
    ("text", "count"), [("0", 0), ("256Mi", 268_435_456), ("1.5G", 1_500_000_000), ("64k", 64_000), ("7", 7)]
)
def test_parsed_amount(text: str, count: int) -> None:
    assert units.parsed_amount(text) == count


@pytest.mark.parametrize("text", ["", "M", "-1", "1e3", "nan", "1.2.3", "٣", "3MM", "i"])
def test_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="64M"):
        units.parsed_amount(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5_400), ("2d", 172_800), ("1.5h", 5_400), ("0.5", 0.5)],
)
def test_parsed_span(text: str, seconds: float) -> None:
    assert units.parsed_span(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "0", "m", "10x", "-5", "1m1h", "1m1m", "400d", "1..5s", "10 m", "inf", "\u0661s", "5m.", "100ms", "10min"],
)
def test_no_span(text: str) -> None:
    with pytest.raises(ValueError, match="a time is a number"):
        units.parsed_span(text)
