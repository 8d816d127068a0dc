"""The words that the benches share: which peers and tables, how many rounds of how many seconds, and the short form.

Rules: a word means the same in every bench; every bench has a short form, `--quick`; what is written out counts more
than a form that would set it; an unknown name ends the bench before anything has started.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterable, Mapping


class Options(argparse.ArgumentParser):
    """Those that a bench asks for by naming them here; it adds its own with `add_argument` and `number`."""

    def __init__(
        self,
        description: str | None,
        *,
        quick: Mapping[str, object],
        tables: Iterable[str] = (),
        servers: bool = False,
        rounds: int | None = None,
        seconds: float | None = None,
    ) -> None:
        """`servers`: peers that listen, pinned to a core; `quick`: what the short form sets, by destination."""
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        self._forms: dict[str, Mapping[str, object]] = {}
        if tables:
            self.choice("--tables", tables)
        if servers:
            self.add_argument("--peers", type=names, metavar="NAME,..", help="all when left out")
            self.add_argument("--one-core", action="store_true", help="server and load on one core: steadiest CPU time")
        if rounds is not None:
            self.number("--rounds", rounds, "peers interleaved")
        if seconds is not None:
            self.add_argument(
                "--seconds", type=duration, default=seconds, help="measured per run (default %(default)s)"
            )
        self.form("--quick", quick)

    def number(self, flag: str, default: int, what: str = "", *, unit: str = "N") -> None:
        """An option that takes a whole number from 1 on."""
        self.add_argument(
            flag, type=positive, default=default, metavar=unit, help=f"{what} (default %(default)s)".strip()
        )

    def numbers(self, flag: str, default: Iterable[int], what: str = "", *, unit: str = "N") -> None:
        """An option that takes several, with commas between."""
        text = ",".join(map(str, default))
        self.add_argument(
            flag, type=integers, default=text, metavar=f"{unit},..", help=f"{what} (default {text})".strip()
        )

    def choice(self, flag: str, known: Iterable[str]) -> None:
        """An option that takes some of the known names; all when left out."""
        known = tuple(known)
        self.add_argument(
            flag, type=some_of(known), default=",".join(known), metavar="NAME,..", help="(default %(default)s)"
        )

    def form(self, flag: str, settings: Mapping[str, object]) -> None:
        """A flag that stands for others; what is written out beside it still counts."""
        self._forms[flag.removeprefix("--")] = settings
        words = " ".join(f"--{name.replace('_', '-')} {spelt(value)}" for name, value in settings.items())
        self.add_argument(flag, action="store_true", help=f"as with {words}")

    def chosen(self) -> argparse.Namespace:
        """What the command line says."""
        options = self.parse_args()
        forms = [name for name in self._forms if getattr(options, name)]
        if len(forms) > 1:
            self.error(f"--{forms[0]} or --{forms[1]}, not both")
        for name in forms:
            self.set_defaults(**self._forms[name])
            options = self.parse_args()
        return options


def need_root(why: str) -> None:
    if os.geteuid() != 0:
        raise SystemExit(f"bench: needs root, for {why}")


def spelt(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


# ---- what an argument is read with ----


def names(text: str) -> list[str]:
    return text.split(",")


def some_of(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        if unknown := [name for name in names(text) if name not in known]:
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {', '.join(known)}")
        return names(text)

    return read


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"a whole number from 1 on, not {text!r}")
    return int(text)


def integers(text: str) -> list[int]:
    return [positive(part) for part in names(text)]


def duration(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"seconds, more than none, not {text!r}")
    return seconds
