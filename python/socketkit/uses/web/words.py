"""Names, sizes and times of files as a page shows them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from .tree import Entry

__all__ = ["age", "href", "shown", "size", "sort_of"]


def shown(name: str) -> str:
    """A file's name as text that can be shown: what is no UTF-8, or steers the writing, becomes a question mark."""
    if name.isprintable() and STEERING.isdisjoint(name):
        return name  # a folder may have a hundred thousand of them
    text = os.fsencode(name).decode("utf-8", "replace")
    return "".join(char if char == " " or (char.isprintable() and char not in STEERING) else "\ufffd" for char in text)


def href(name: str, *, folder: bool) -> str:
    """The address of a name relative to its folder: with `./` in front, for `a:b` would be another scheme."""
    return f"./{quote(os.fsencode(name), safe='')}{'/' if folder else ''}"


def size(count: int) -> str:
    """`812 B`, `1.4 kB`, `20 MB`."""
    number, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 999.5:
            break
        number, unit = number / 1_000, larger
    return f"{number:.1f} {unit}" if unit != "B" and number < 9.95 else f"{number:.0f} {unit}"


def age(seconds: float) -> str:
    """How long ago that was: `just now`, `5 minutes ago`, `yesterday`, `3 years ago`."""
    if seconds < -60:
        return "in the future"
    for unit, length in (("year", 31_557_600), ("month", 2_629_800), ("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = int(seconds // length)
        if count >= 1:
            if unit == "day" and count == 1:
                return "yesterday"
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


def sort_of(entry: Entry) -> str:
    """What is shown of it: `folder`, `picture`, `video`, `audio` or `file`."""
    if entry.is_folder:
        return "folder"
    ending = os.path.splitext(entry.name)[1].lower().removeprefix(".")
    return next((sort for sort, endings in SORTS.items() if ending in endings), "file")


# Directions of writing, and what has no width: gnp.exe would be shown as exe.png.
STEERING = frozenset(map(chr, [0x061C, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF]))
# What browsers show and play.
SORTS = {
    "picture": frozenset(["png", "jpg", "jpeg", "gif", "webp", "avif", "svg", "bmp", "ico"]),
    "video": frozenset(["mp4", "m4v", "webm", "ogv", "mov", "mkv"]),
    "audio": frozenset(["mp3", "m4a", "ogg", "oga", "opus", "flac", "wav", "aac"]),
}
