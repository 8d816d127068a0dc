from __future__ import annotations

import json
import os
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urljoin

import pytest

from socketkit.uses.web import listing
from socketkit.uses.web.files import Files
from socketkit.uses.web.listing import ASSETS, Assets, Listing, asset_names, natural
from socketkit.uses.web.tree import Entry, Tree
from socketkit.uses.web.words import shown
from tests.uses.web.asking import ask

NOW = 2_000_000_000.0
HOSTILE = (
    b"<script>alert(1)</script>", b"\"onmouseover='alert(1)'", b"'><img src=x onerror=alert(1)>.png", b"&amp;&lt;",
    b"a{name}%s%(x)s", b"\xff\xfe\x80.txt", b"\xe2\x80\xaegnp.exe", b"line\nbreak", b"javascript:alert(1)",
    b"x\\..\\up", b"a b?q=1#x.txt", b"]]><!--", b"</title><script>", b"\\\\host\\share",
)  # fmt: skip


class Reading(HTMLParser):
    """Every tag of a page with its attributes, and the links of its rows."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.links: dict[str, str] = {}
        self._link = ""
        self._in_row = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        held = dict(attributes)
        self.tags.append((tag, held))
        if tag == "span" and held.get("class") == "name" and held.get("role") == "cell":
            self._in_row = True
        if tag == "a" and self._in_row:
            self._link = held["href"] or ""
            self.links[self._link] = ""

    def handle_data(self, data: str) -> None:
        if self._link:
            self.links[self._link] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._link, self._in_row = "", False


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "things"
    (folder / "sub").mkdir(parents=True)
    for name, count, age in (("b.txt", 10, 60), ("a10.png", 30, 7_200), ("a2.mp3", 2_000_000, 100_000)):
        (folder / name).write_bytes(bytes(count))
        os.utime(folder / name, (NOW - age, NOW - age))
    (folder / ".hidden").touch()
    return folder


@pytest.fixture
def app(root: Path) -> Iterator[Assets]:
    with Tree(root) as tree:
        yield Assets(Files(tree, Listing(tree, clock=lambda: NOW)))


def names(app: Any, target: str, **options: Any) -> list[str]:
    return list(Reading(ask(app, target, **options).body.decode()).links.values())


def test_the_page(app: Assets) -> None:
    got = ask(app, "/")
    assert (got.status, got.headers["content-type"]) == (200, "text/html; charset=utf-8")
    page = got.body.decode()
    assert list(Reading(page).links.values()) == ["sub", "a2.mp3", "a10.png", "b.txt"]
    assert "1 folder, 3 files, 2.0 MB" in page
    assert ">2 hours ago<" in page
    assert ">yesterday<" in page
    policy = got.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert ask(app, "/", method="HEAD").body == b""


def test_no_script_and_no_style_stands_in_the_page(app: Assets) -> None:
    for tag, held in Reading(ask(app, "/").body.decode()).tags:
        assert tag not in ("style", "script") or held.get("src")
        assert not [name for name in held if name.startswith("on") or name == "style"]


def test_order(app: Assets) -> None:
    assert names(app, "/?sort=size") == ["sub", "b.txt", "a10.png", "a2.mp3"]
    assert names(app, "/?sort=size&order=desc") == ["sub", "a2.mp3", "a10.png", "b.txt"]
    assert names(app, "/?sort=time") == ["sub", "a2.mp3", "a10.png", "b.txt"]
    assert names(app, "/?order=desc") == ["sub", "b.txt", "a10.png", "a2.mp3"]
    assert names(app, "/?sort=nothing") == ["sub", "a2.mp3", "a10.png", "b.txt"]


def test_heads_turn_the_order_and_keep_the_search(app: Assets) -> None:
    heads = [held["href"] for tag, held in Reading(ask(app, "/?sort=size&q=a").body.decode()).tags
             if tag == "a" and "data-sort" in held]  # fmt: skip
    assert heads == ["?q=a", "?sort=size&order=desc&q=a", "?sort=time&q=a"]


def test_search(app: Assets) -> None:
    assert names(app, "/?q=A") == ["a2.mp3", "a10.png"]
    assert "Nothing here has this" in ask(app, "/?q=%22%3E%3Cb%3E").body.decode()
    assert "<b>" not in ask(app, "/?q=%22%3E%3Cb%3E").body.decode()


def test_an_empty_folder_and_the_way_back(app: Assets) -> None:
    page = ask(app, "/sub/").body.decode()
    assert "This folder is empty." in page
    assert '<a href="../">things</a><span aria-current="page">sub</span>' in page


def test_json(app: Assets) -> None:
    for got in (ask(app, "/?json"), ask(app, "/", headers={"Accept": "application/json"})):
        assert got.headers["content-type"] == "application/json"
        told = json.loads(got.body)
        assert told["path"] == "/"
        assert [entry["name"] for entry in told["entries"]] == ["sub", "a2.mp3", "a10.png", "b.txt"]
        assert told["entries"][3] == {
            "name": "b.txt", "href": "./b.txt", "folder": False, "size": 10, "modified": NOW - 60,
        }  # fmt: skip
    assert ask(app, "/", headers={"Accept": "text/html,application/json"}).headers["content-type"].startswith("text/")


def test_hostile_names_are_text_and_lead_to_their_files(tmp_path: Path) -> None:
    for number, name in enumerate(HOSTILE):
        if b"/" not in name:
            Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text(str(number))
    with Tree(tmp_path) as tree:
        app = Assets(Files(tree, Listing(tree)))
        reading = Reading(ask(app, "/").body.decode())
        present = [name for name in HOSTILE if b"/" not in name]
        assert sorted(reading.links.values()) == sorted(shown(os.fsdecode(name)) for name in present)
        allowed = {"script", "img", "a", "span", "div", "time", "p"}
        inside = reading.tags[[tag for tag, _ in reading.tags].index("main") :]
        assert {tag for tag, _ in inside} <= allowed | {"main", "dialog", "button"}
        assert not [held for _, held in reading.tags if any(name.startswith("on") for name in held)]
        for link, text in reading.links.items():
            target = urljoin("http://host/", link)
            assert target.startswith("http://host/")
            name = unquote_to_bytes(target.removeprefix("http://host/"))
            assert shown(os.fsdecode(name)) == text
            assert ask(app, target.removeprefix("http://host")).body == str(HOSTILE.index(name)).encode()
        for entry in json.loads(ask(app, "/?json").body)["entries"]:
            assert ask(app, entry["href"].removeprefix(".")).status == 200


def test_a_hostile_folder_in_title_and_crumbs(tmp_path: Path) -> None:
    (tmp_path / "<i>a&b" / "<b>").mkdir(parents=True)
    with Tree(tmp_path) as tree:
        page = ask(Files(tree, Listing(tree)), "/%3Ci%3Ea%26b/%3Cb%3E/").body.decode()
    assert "<title>&lt;b&gt;</title>" in page
    assert "&lt;i&gt;a&amp;b</a>" in page


def test_a_long_folder_says_what_it_leaves_out(app: Assets, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST_ROWS", 2)
    assert len(names(app, "/")) == 2
    assert "2 more are not shown" in ask(app, "/").body.decode()
    assert len(json.loads(ask(app, "/?json").body)["entries"]) == 4


def test_assets(app: Assets) -> None:
    assert asset_names() >= {"listing.css", "listing.js", "icon.svg"}
    got = ask(app, f"{ASSETS}listing.js")
    assert got.headers["content-type"].startswith("text/javascript")
    for wrong in ("nothing.js", "../listing.py", "", "page/listing.js"):
        assert ask(app, f"{ASSETS}{wrong}").status == 404
    assert ask(app, f"{ASSETS}listing.js", method="POST").status == 405
    assert b"--accent" in ask(app, f"{ASSETS}colours.css").body


def test_under_a_link_assets_are_there_too(app: Assets) -> None:
    page = ask(app, "/", root_path="/~token").body.decode()
    assert 'src="/~token/.socketkit/listing.js"' in page


def test_numbers_in_names() -> None:
    assert sorted(["a10", "a9", "A1", "b", "a09x", "9" * 5_000], key=natural)[1:] == ["A1", "a9", "a09x", "a10", "b"]


def test_rows_of_impossible_times() -> None:
    for modified in (-1e12, 1e18):
        assert "<time" in listing.row(Entry("a", False, 1, modified), NOW)
