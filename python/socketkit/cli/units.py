"""Amounts, rates and times as a person reads them: decimal units, three digits."""

from __future__ import annotations


def amount(count: float) -> str:
    """`812 B`, `20.0 MB`."""
    if count < 999.5:
        return f"{count:.0f} B"
    for factor, unit in ((1e3, "kB"), (1e6, "MB"), (1e9, "GB")):
        if count / factor < 999.5:
            return f"{_three_digits(count / factor)} {unit}"
    return f"{_three_digits(count / 1e12)} TB"


def rate(bytes_per_second: float) -> str:
    """`812 MB/s`."""
    return f"{amount(bytes_per_second)}/s"


def bit_rate(bits_per_second: float) -> str:
    """`18.2 Gbit/s`."""
    return amount(bits_per_second).removesuffix("B") + "bit/s"


def parsed_bit_rate(text: str) -> int:
    """Bits per second of `10M`, `2.5G`, `0`; decimal units. ValueError if it is none."""
    number, factor = (text[:-1], FACTORS[text[-1].upper()]) if text[-1:].upper() in FACTORS else (text, 1.0)
    if not number.replace(".", "", 1).isdecimal() or not number.isascii():
        raise ValueError("a rate is a number of bits per second, with k, M or G behind it: 10M, 2.5G; 0 is no limit")
    return round(float(number) * factor)


def parsed_amount(text: str) -> int:
    """Bytes of `256M`, `1.5G`, `64Mi`. ValueError if it is none."""
    number = text.rstrip("kKMGTi")
    unit = text[len(number) :]
    if unit not in AMOUNTS or not number.replace(".", "", 1).isdecimal() or not number.isascii():
        raise ValueError("an amount is a number of bytes, with k, M or G behind it: 64M, 1.5G")
    return round(float(number) * AMOUNTS[unit])


def duration(seconds: float) -> str:
    """`43 µs`, `1.20 ms`, `12.3 s`."""
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 999.5:
            return f"{_three_digits(seconds * factor)} {unit}"
    return f"{_three_digits(seconds)} s"


def span(seconds: float) -> str:
    """`12.3 s`, `45 min`, `2.5 h`, `3.1 d`: how old something is."""
    for factor, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * factor:
            return f"{_three_digits(seconds / factor)} {unit}"
    return duration(seconds)


def parsed_span(text: str) -> float:
    """Seconds of `90`, `10m`, `1h30m`, `2d`. ValueError if it is none, or no time at all."""
    total, digits, last = 0.0, "", float("inf")
    for letter in f"{text}s" if text[-1:].isdecimal() else text:
        if letter.isdecimal() or letter == ".":
            digits += letter
            continue
        factor = SPAN_FACTORS.get(letter, last)
        if factor >= last or not digits.replace(".", "", 1).isdecimal() or not digits.isascii():
            raise ValueError(NO_SPAN)
        total, digits, last = total + float(digits) * factor, "", factor
    if digits or not 0 < total <= 366 * 86_400:
        raise ValueError(NO_SPAN)
    return total


def plural(count: int, thing: str) -> str:
    """`1 connection`, `2 connections`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _three_digits(number: float) -> str:
    for decimals, border in ((2, 9.995), (1, 99.95)):
        if number < border:
            return f"{number:.{decimals}f}"
    return f"{number:.0f}"


NO_SPAN = "a time is a number with s, m, h or d behind it, a year at most: 90s, 10m, 1h30m"
SPAN_FACTORS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
FACTORS = {"K": 1e3, "M": 1e6, "G": 1e9}
AMOUNTS = {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
