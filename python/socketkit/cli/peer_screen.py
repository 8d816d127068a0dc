"""How a service is shown while it runs: a live list of its peers, lines, or JSON; chosen by where the output goes."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from .columns import columns
from .keyboard import keyboard
from .live_table import live_table
from .units import amount, plural, span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..hosting import Happening, Hosted, Row
    from .live_table import Line


class JsonEvents:
    """An object for each event, on stdout."""

    def tell(self, happening: Happening) -> None:
        row = happening.row._asdict()
        warning, facts = row.pop("warning"), row.pop("facts")
        if happening.what == "joined":
            row = {name: row[name] for name in ("number", "address", "fingerprint", "doing")}
        elif warning:
            row["warning"] = warning
        self.say(event=happening.what, **row, **(facts if happening.what != "joined" else {}))

    def say(self, **event: object) -> None:
        click.echo(json.dumps(event))

    @asynccontextmanager
    async def shown(self, hosted: Hosted) -> AsyncIterator[None]:
        yield


class PeerLines:
    """A line for each peer that comes or goes, on stderr; of a crowd, how many they were."""

    def __init__(self) -> None:
        self._room = LINES_PER_SECOND
        self._left_out = 0
        self._refilling: asyncio.TimerHandle | None = None

    def tell(self, happening: Happening) -> None:
        if self._refilling is None:
            self._refilling = asyncio.get_running_loop().call_later(1.0, self._refill)
        if self._room:
            self._room -= 1
            click.echo(words_of(happening), err=True)
        else:
            self._left_out += 1

    @asynccontextmanager
    async def shown(self, hosted: Hosted) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self._refill()

    def _refill(self) -> None:
        if self._refilling is not None:
            self._refilling.cancel()
            self._refilling = None
        if self._left_out:
            click.echo(f"and {self._left_out:,} more came or went", err=True)
        self._room, self._left_out = LINES_PER_SECOND, 0


class PeerScreen:
    """The list of those who are there, and keys for it."""

    def __init__(self) -> None:
        self._chosen = 0
        """The number of the peer that is marked; 0: none."""
        self._keys = False

    def tell(self, happening: Happening) -> None:
        pass  # the list is looked at as often as it is shown

    @asynccontextmanager
    async def shown(self, hosted: Hosted) -> AsyncIterator[None]:
        def pressed(key: str) -> None:
            self.press(key, hosted)

        with keyboard(pressed) as self._keys:
            async with live_table(lambda: self.lines(hosted), patience_seconds=0):
                yield

    def press(self, key: str, hosted: Hosted) -> None:
        numbers = [row.number for row in hosted.peers.rows()]
        if key in ("q", "Q"):
            hosted.stop("q was pressed")
        elif key == "x" and self._chosen in numbers:
            hosted.peers.kick(self._chosen)
            self._chosen = 0
        elif numbers and key in STEPS:
            at = numbers.index(self._chosen) + STEPS[key] if self._chosen in numbers else min(STEPS[key], 0)
            self._chosen = numbers[at % len(numbers)]

    def lines(self, hosted: Hosted) -> list[Line]:
        rows = hosted.peers.rows()
        gone = hosted.peers.served - len(rows)
        state = f"{plural(len(rows), 'connection')}, {gone:,} before" if gone else plural(len(rows), "connection")
        if hosted.reason:
            footer = f"{state}; ending: {hosted.reason}"
        else:
            footer = f"{state}; " + (KEYS if rows else KEYS_ALONE) if self._keys else state
        if not rows:
            return [(footer, "dim")]
        shown = [self._cells(row) for row in rows]
        head, *body = columns(HEADER, shown, left=(0, 1, 5))
        marked = [(line, self._style(row)) for line, row in zip(body, rows, strict=True)]
        return [(head, "bold"), *marked, (footer, "dim")]

    def _style(self, row: Row) -> str:
        words = ["red"] * bool(row.warning) + ["reverse"] * (row.number == self._chosen)
        return " ".join(words)

    def _cells(self, row: Row) -> list[str]:
        mark = ">" if row.number == self._chosen else ""
        doing = ", ".join(filter(None, (row.doing, row.warning)))
        doing = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in doing)
        sizes = [amount(row.received_bytes), amount(row.sent_bytes)]
        return [mark, row.address, span(row.seconds), *sizes, doing]


def screen(*, as_json: bool) -> JsonEvents | PeerLines | PeerScreen:
    """What shows a service here: a list needs a terminal for what is shown and for the keys."""
    if as_json:
        return JsonEvents()
    return PeerScreen() if sys.stdout.isatty() and sys.stderr.isatty() and sys.stdin.isatty() else PeerLines()


def words_of(happening: Happening) -> str:
    """A line for who came or went."""
    row = happening.row
    if happening.what == "joined":
        return f"connection from {row.address}"
    went = "was sent off" if happening.what == "kicked" else "has gone"
    counts = f"received {amount(row.received_bytes)}, sent {amount(row.sent_bytes)} in {span(row.seconds)}"
    return f"{row.address} {went}: {counts}"


HEADER = ("", "peer", "since", "received", "sent", "doing")
KEYS = "up and down choose one, x sends it off, q ends"
KEYS_ALONE = "q ends"
STEPS = {"up": -1, "k": -1, "down": 1, "j": 1}
LINES_PER_SECOND = 20
