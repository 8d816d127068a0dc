"""`Listing`: what is in a folder, as a page for people, as JSON for programs, or as one archive.

The page is whole without scripts: they only spare the way to the server for sorting and searching, and show pictures
and play what can be played over the page. Every name that goes into it is somebody else's.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from functools import cache
from html import escape
from importlib.resources import files as resources
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, quote, urlencode

from ...http.exchange import COLOURS
from .answers import answer, refuse
from .archive import send_archive
from .words import age, href, shown, size, sort_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...http.asgi import Application, Receive, Scope, Send
    from .tree import Entry, Opened, Tree

__all__ = ["ASSETS", "Assets", "Listing"]

ASSETS = "/.socketkit/"


class Listing:
    """Answers for a folder of `tree`, in `Files`. `above` makes what stands above the files, of the assets' address."""

    def __init__(
        self, tree: Tree, *, above: Callable[[str], str] | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._tree = tree
        self._above = above
        self._clock = clock
        self._title = os.path.basename(tree.path) or "files"
        # A hundred thousand files take seconds: whoever asks again and again must not have all threads.
        self._turns = asyncio.Semaphore(LISTINGS_AT_ONCE)

    async def __call__(self, scope: Scope, send: Send, folder: Opened) -> None:
        wishes = wishes_of(scope)
        if wishes.archive:
            await send_archive(scope, send, self._tree, folder, self._name(folder))
            return
        try:
            # A folder may be large, or on a disk that sleeps.
            async with self._turns:
                body = await asyncio.to_thread(self._listed, scope, folder, wishes)
        except PermissionError:
            await refuse(scope, send, 403, "who serves this may not read it himself")
            return
        await answer(scope, send, 200, JSON if wishes.as_json else HTML, body, HEADERS)

    def _listed(self, scope: Scope, folder: Opened, wishes: Wishes) -> bytes:
        entries = list(self._tree.entries(folder))
        if search := wishes.search:
            entries = [entry for entry in entries if search in shown(entry.name).casefold()]
        entries = ordered(entries, wishes)
        if wishes.as_json:
            # One by one: a call that takes a second in one go lets nobody else have a turn.
            listed = ", ".join(json.dumps(as_json(entry)) for entry in entries)
            return f'{{"path": {json.dumps(self._path(folder))}, "entries": [{listed}]}}'.encode()
        return self._page(scope, folder, entries, wishes).encode()

    def _page(self, scope: Scope, folder: Opened, entries: list[Entry], wishes: Wishes) -> str:
        address = quote(scope.get("root_path", ""), safe="/~") + ASSETS
        assets = escape(address)
        return (
            asset("listing.html")
            .decode()
            .format(
                name=escape(shown(self._name(folder))),
                assets=assets,
                crumbs="".join(self._crumbs(folder)),
                search=escape(wishes.written),
                count=summed(entries),
                # What a form sends stands in it, not in its address.
                kept="".join(f'<input type="hidden" name="{key}" value="{value}">' for key, value in wishes.order),
                above="" if self._above is None else self._above(address),
                rows="".join(self._rows(entries, wishes)),
            )
        )

    def _rows(self, entries: list[Entry], wishes: Wishes) -> Iterator[str]:
        yield '<div class="table" role="table" aria-label="Files">\n<div class="row head" role="row">'
        for column in COLUMNS:
            yield heading(column, wishes)
        yield '</div>\n<div id="rows" role="rowgroup">\n'
        now = self._clock()
        for entry in entries[:MOST_ROWS]:
            yield row(entry, now)
        yield "</div>\n</div>\n"
        if len(entries) > MOST_ROWS:
            left_out = len(entries) - MOST_ROWS
            yield f'<p class="note">{left_out:,} more are not shown: search for what you want.</p>\n'
        elif not entries:
            nothing = "Nothing here has this in its name." if wishes.search else "This folder is empty."
            yield f'<p class="note">{nothing}</p>\n'

    def _name(self, folder: Opened) -> str:
        return os.fsdecode(folder.names[-1]) if folder.names else self._title

    def _path(self, folder: Opened) -> str:
        return "/" + "".join(f"{shown(os.fsdecode(name))}/" for name in folder.names)

    def _crumbs(self, folder: Opened) -> Iterator[str]:
        """The way from the folder that is served to this one."""
        names = [self._title, *map(os.fsdecode, folder.names)]
        for height, name in zip(range(len(names) - 1, -1, -1), names, strict=True):
            text = escape(shown(name))
            yield f'<a href="{"../" * height}">{text}</a>' if height else f'<span aria-current="page">{text}</span>'


class Wishes(NamedTuple):
    """What a request wants of a folder."""

    sort: str = "name"
    descending: bool = False
    written: str = ""
    """What was searched for, as it was written."""
    as_json: bool = False
    archive: bool = False

    @property
    def search(self) -> str:
        return self.written.strip().casefold()

    @property
    def order(self) -> list[tuple[str, str]]:
        """As it stands in an address; nothing of what is so anyway."""
        order = [] if self.sort == "name" else [("sort", self.sort)]
        return [*order, ("order", "desc")] if self.descending else order


def wishes_of(scope: Scope) -> Wishes:
    """What the query and the fields of a request say; what they say otherwise is not heard."""
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    accepted = b",".join(value for name, value in scope["headers"] if name == b"accept").lower()
    sort = query.get("sort", ["name"])[-1]
    return Wishes(
        sort if sort in COLUMNS else "name",
        query.get("order", [""])[-1] == "desc",
        query.get("q", [""])[-1][:MOST_LETTERS],
        "json" in query or (b"application/json" in accepted and b"text/html" not in accepted),
        "zip" in query,
    )


def ordered(entries: list[Entry], wishes: Wishes) -> list[Entry]:
    """Folders first, whatever the order; names as people sort them: without case, and a number as one."""
    entries = sorted(entries, key=lambda entry: natural(shown(entry.name)), reverse=wishes.descending)
    if wishes.sort == "size":
        entries.sort(key=lambda entry: entry.size, reverse=wishes.descending)
    elif wishes.sort == "time":
        entries.sort(key=lambda entry: entry.modified, reverse=wishes.descending)
    return sorted(entries, key=lambda entry: not entry.is_folder)


def natural(name: str) -> list[tuple[int, int, str]]:
    """`a2` before `a10`."""
    # No int() of what is long: that takes the square of its length.
    return [
        (0, len(part.lstrip("0")), part.lstrip("0")) if "0" <= part[0] <= "9" else (1, 0, part)
        for part in _PARTS.findall(f"{name.casefold()}\0")
    ]


def as_json(entry: Entry) -> dict[str, object]:
    """An entry for programs: `href` is exact where `name` cannot be."""
    return {
        "name": shown(entry.name),
        "href": href(entry.name, folder=entry.is_folder),
        "folder": entry.is_folder,
        "size": entry.size,
        "modified": entry.modified,
    }


def heading(column: str, wishes: Wishes) -> str:
    """The head of a column, which sorts by it; a second time the other way round."""
    now = wishes.sort == column
    turned = wishes._replace(sort=column, descending=now and not wishes.descending)
    query = urlencode([*turned.order, *([("q", wishes.written)] if wishes.written else [])])
    direction = ("descending" if wishes.descending else "ascending") if now else "none"
    # An empty query is another address than none: `index.html` would come in place of the list.
    return (
        f'<span role="columnheader" class="{column}" aria-sort="{direction}">'
        f'<a data-sort="{column}" href="?{escape(query or "sort=name")}">{COLUMNS[column]}</a></span>'
    )


def row(entry: Entry, now: float) -> str:
    """A line of the page."""
    sort, address = sort_of(entry), escape(href(entry.name, folder=entry.is_folder))
    name = escape(shown(entry.name))
    moment = time.gmtime(min(max(entry.modified, 0), LAST_SECOND))
    exact, told = time.strftime("%Y-%m-%dT%H:%M:%SZ", moment), time.strftime("%Y-%m-%d %H:%M UTC", moment)
    picture = '<span class="icon" aria-hidden="true"></span>'
    if sort == "picture" and entry.size <= PREVIEW_BYTES:
        picture = f'<img class="icon" src="{address}" alt="" loading="lazy" decoding="async">'
    return (
        f'<div class="row {sort}" role="row" data-sort="{sort}" data-size="{entry.size}" data-time="{entry.modified}">'
        f'<span class="name" role="cell">{picture}<a href="{address}">{name}</a></span>'
        f'<span class="size" role="cell">{"" if entry.is_folder else size(entry.size)}</span>'
        f'<span class="time" role="cell"><time datetime="{exact}" title="{told}">'
        f"{age(now - entry.modified)}</time></span></div>\n"
    )


def summed(entries: list[Entry]) -> str:
    folders = sum(entry.is_folder for entry in entries)
    files, total = len(entries) - folders, sum(entry.size for entry in entries)
    counted = [f"{folders:,} folder{'' if folders == 1 else 's'}"] if folders else []
    counted += [f"{files:,} file{'' if files == 1 else 's'}, {size(total)}"] if files else []
    return ", ".join(counted)


class Assets:
    """What pages need, under `/.socketkit/`; everything else is `application`'s."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(ASSETS):
            await self._application(scope, receive, send)
            return
        name = scope["path"].removeprefix(ASSETS)
        ending = os.path.splitext(name)[1]
        if scope["method"] not in ("GET", "HEAD"):
            await refuse(scope, send, 405, "this is for reading only", [(b"allow", b"GET, HEAD")])
        elif name not in asset_names() or ending not in KINDS:
            await refuse(scope, send, 404, "there is nothing here of this name")
        else:
            headers = [(b"cache-control", b"no-cache"), (b"x-content-type-options", b"nosniff")]
            await answer(scope, send, 200, KINDS[ending], asset(name), headers)


@cache
def asset_names() -> frozenset[str]:
    return frozenset((COLOURS.name, *(path.name for path in resources(__package__).joinpath("page").iterdir())))


@cache
def asset(name: str) -> bytes:
    if name == COLOURS.name:
        return COLOURS.read_bytes()
    return resources(__package__).joinpath("page", name).read_bytes()


_PARTS = re.compile("[0-9]+|[^0-9]+")

KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
COLUMNS = {"name": "Name", "size": "Size", "time": "Changed"}
HTML, JSON = "text/html; charset=utf-8", "application/json"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"cache-control", b"no-cache"),
    (b"content-security-policy", POLICY.encode()),
    # Not `no-referrer`: a form would come from nowhere then, and uploads are taken from this site's pages only.
    (b"referrer-policy", b"same-origin"),
    (b"vary", b"accept"),
    (b"x-content-type-options", b"nosniff"),
]
MOST_ROWS = 5_000
LISTINGS_AT_ONCE = 2
MOST_LETTERS = 200
PREVIEW_BYTES = 4_000_000  # a telephone loads those that are in sight
LAST_SECOND = 253_402_300_799  # of the year 9999
