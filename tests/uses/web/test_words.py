from __future__ import annotations

import os

import pytest

from socketkit.uses.web.tree import Entry
from socketkit.uses.web.words import age, href, shown, size, sort_of


def test_sizes() -> None:
    assert [size(count) for count in (0, 999, 1_000, 1_449, 9_949, 12_345, 999_600, 5 * 10**12)] == [
        "0 B", "999 B", "1.0 kB", "1.4 kB", "9.9 kB", "12 kB", "1.0 MB", "5.0 TB",
    ]  # fmt: skip


def test_ages() -> None:
    hour, day = 3_600, 86_400
    assert [age(seconds) for seconds in (-100, 3, 60, 2 * hour, day, 40 * day, 800 * day)] == [
        "in the future", "just now", "1 minute ago", "2 hours ago", "yesterday", "1 month ago", "2 years ago",
    ]  # fmt: skip


def test_addresses_lead_to_the_very_bytes() -> None:
    assert href("a b?#%.txt", folder=False) == "./a%20b%3F%23%25.txt"
    assert href("javascript:alert(1)", folder=False) == "./javascript%3Aalert%281%29"
    assert href(os.fsdecode(b"\xff\xfe"), folder=True) == "./%FF%FE/"
    assert href("//evil.example", folder=False) == "./%2F%2Fevil.example"


@pytest.mark.parametrize("name", ["a\u202egnp.exe", "a\nb", "a\x1b[31m", "a\u200bb", os.fsdecode(b"a\xff")])
def test_what_steers_the_writing_is_not_shown(name: str) -> None:
    assert "\ufffd" in shown(name)
    assert shown(name).isprintable()


def test_ordinary_names_stay() -> None:
    assert shown("Bücher & <tags> 日本 👍") == "Bücher & <tags> 日本 👍"


def test_sorts() -> None:
    names = ("a.PNG", "b.mp4", "c.flac", "d.txt", "png")
    assert [sort_of(Entry(name, False, 1, 0)) for name in names] == ["picture", "video", "audio", "file", "file"]
    assert sort_of(Entry("a.png", True, 0, 0)) == "folder"
