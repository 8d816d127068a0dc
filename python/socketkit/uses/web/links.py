"""`Links`: one file each to hand out, for a number of times and a time. Whoever has such a link needs nothing else.

A use is counted when all of the file has gone to the one who began it; until then it is his address's, and what broke
is gone on with by a Range. Links are kept in memory: they end with the service.
"""

from __future__ import annotations

import hashlib
import os
import time
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from ...hosting.link import new_token
from ...http.origin import is_page_of_browser
from .answers import answer, refuse, send_file
from .conditions import Part, Wish, wish_of
from .kinds import kind_of
from .pieces import joined

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ...http.asgi import Application, Receive, Scope, Send
    from .tree import Opened, Tree

__all__ = ["Links"]


class Links:
    """Links to files of `tree`, under `/=TOKEN/`; everything else is `application`'s.

    It stands in front of a `Gate`, for who gets a link has no token of the service. What a request says of a link is
    taken out of its scope before anything else sees it, so that no log has it.
    """

    def __init__(self, tree: Tree, application: Application, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tree = tree
        self._application = application
        self._clock = clock
        # By the hash of the token: how long a look-up takes says nothing of the tokens that there are.
        self._given: dict[bytes, _Given] = {}

    def make(self, path: str, uses: int = 1, seconds: float = 86_400.0) -> str:
        """The path of a new link to the file at `path`, good for `uses` downloads within `seconds`.

        Raises FileNotFoundError where no file is served there, ValueError for what can never be used, and RuntimeError
        when there are too many links.
        """
        if uses < 1 or seconds <= 0:
            raise ValueError("a link is good for one use at least, and for some time")
        opened = self._tree.open(path)
        if opened is None:
            raise FileNotFoundError(2, "nothing of this name is served", path)
        with opened:
            if opened.is_folder:
                raise IsADirectoryError(21, "a link gives one file: make an archive of the folder", path)
            name = opened.names[-1]
        self._forget_old()
        if len(self._given) >= MOST_LINKS:
            raise RuntimeError(f"there are {MOST_LINKS} links: revoke some, or let them end")
        token = new_token()
        self._given[_hash(token)] = _Given(path, uses, self._clock() + seconds)
        return f"{PREFIX}{token}/{quote(name)}"

    def revoke(self, link: str) -> bool:
        """Whether there was such a link, which is good no longer. Takes what `make` gave, or an address with it."""
        token = link.partition(PREFIX)[2].partition("/")[0]
        return self._given.pop(_hash(token), None) is not None

    def left(self, link: str) -> int:
        """How many uses a link has left; 0 if it is not good any more."""
        self._forget_old()
        given = self._given.get(_hash(link.partition(PREFIX)[2].partition("/")[0]))
        return 0 if given is None else given.uses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._application(scope, receive, send)
            return
        token, _, rest = scope["path"].removeprefix(PREFIX).partition("/")
        scope["path"] = f"{PREFIX}.../{rest}"
        if "raw_path" in scope:
            scope["raw_path"] = scope["path"].encode("ascii", "replace")
        self._forget_old()
        key = _hash(token)
        given = self._given.get(key)
        if scope["method"] not in ("GET", "HEAD"):
            await refuse(scope, send, 405, "this link is for reading only", [(b"allow", b"GET, HEAD"), *PRIVATE])
        elif given is None:
            await refuse(scope, send, 404, SPENT, PRIVATE)
        elif (opened := self._tree.open(given.path)) is None or opened.is_folder:
            if opened is not None:
                opened.close()
            await refuse(scope, send, 404, "the file behind this link is not here any more", PRIVATE)
        else:
            with opened:
                await self._answer(scope, send, given, opened)
            if not given.uses:
                self._given.pop(key, None)

    async def _answer(self, scope: Scope, send: Send, given: _Given, opened: Opened) -> None:
        headers = dict(scope["headers"])
        if scope["method"] == "GET" and is_page_of_browser(headers) and scope["query_string"] != TAKE:
            # Programs that look at links in messages, to show what is behind them, do not use them up by that.
            await answer(scope, send, 200, "text/html; charset=utf-8", _page(opened, given), [*PRIVATE, POLICY])
            return
        wish = wish_of(headers, opened.tag, opened.status.st_mtime, opened.size)
        if len(wish.parts) > 1:
            wish = Wish(200, (Part(0, opened.size - 1),))
        name = quote(opened.names[-1], safe="")
        fields = [
            (b"content-disposition", f"attachment; filename*=UTF-8''{name}".encode()),
            (b"content-security-policy", b"sandbox"),
            *PRIVATE,
        ]
        kind = kind_of(opened.names)
        if scope["method"] == "HEAD" or wish.status not in (200, 206):
            await send_file(scope, send, opened, wish, kind, fields)
            return
        host = str((scope.get("client") or ("",))[0])
        part = wish.parts[0] if wish.parts else Part(0, -1)
        now = self._clock()
        if (use := given.use_of(host, opened, part, now)) is None:
            words = "somebody is fetching this file just now: a link gives it to one at a time"
            await refuse(scope, send, 503, words, [(b"retry-after", b"10"), *PRIVATE])
            return
        sent = 0

        async def counted(event: Any) -> None:
            nonlocal sent
            await send(event)
            sent += event["count"] if event["type"] == "http.response.zerocopysend" else len(event.get("body", b""))

        use.running.append(part)
        try:
            await send_file(scope, counted, opened, wish, kind, fields)
        finally:
            use.running.remove(part)
            given.note(use, part.first, sent, opened.size, self._clock())

    def _forget_old(self) -> None:
        now = self._clock()
        for key in [key for key, given in self._given.items() if given.until <= now]:
            del self._given[key]


class _Use:
    """One who fetches the file."""

    __slots__ = ("had", "host", "running", "seen", "sent", "tag", "whole")

    def __init__(self, host: str, tag: str, now: float) -> None:
        self.host = host
        self.tag = tag
        self.running: list[Part] = []
        self.had: list[tuple[int, int]] = []
        self.sent = 0
        self.seen = now
        self.whole = False


class _Given:
    """A link: `uses` are left, those that have begun among them."""

    def __init__(self, path: str, uses: int, until: float) -> None:
        self.path = path
        self.uses = uses
        self.until = until
        self._begun: list[_Use] = []

    def use_of(self, host: str, opened: Opened, part: Part, now: float) -> _Use | None:
        """The use that a request belongs to; None while all are taken by others."""
        self._begun = [use for use in self._begun if use.running or now - use.seen < RESUME_SECONDS]
        for use in self._begun:
            if use.host != host or use.tag != opened.tag:
                continue
            if any(part.first <= other.last and other.first <= part.last for other in use.running):
                continue  # who fetches the same bytes at the same time is another one, behind the same address
            if not use.whole or (part.first and part.first >= opened.size - TAIL_BYTES):
                return use
        if sum(not use.whole for use in self._begun) >= self.uses:
            return None
        use = _Use(host, opened.tag, now)
        self._begun.append(use)
        return use

    def note(self, use: _Use, first: int, count: int, size: int, now: float) -> None:
        """`count` bytes from `first` on have gone."""
        use.seen = now
        use.sent += count
        use.had = joined([*use.had, (first, first + count)])
        all_gone = use.had[0] == (0, size)
        # Who has had twice as much has had it, whatever he leaves out.
        if not use.whole and (all_gone or use.sent > 2 * size + TAIL_BYTES):
            use.whole = True
            self.uses -= 1


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _page(opened: Opened, given: _Given) -> bytes:
    name = escape(os.fsdecode(opened.names[-1]).encode("utf-8", "replace").decode())
    uses = "once" if given.uses == 1 else f"{given.uses} times"
    return PAGE.format(name=name, size=f"{opened.size:,}", uses=uses).encode()


PREFIX = "/="
TAKE = b"get=1"
SPENT = "this link is not good, or not any more: ask whoever gave it to you for a new one"
MOST_LINKS = 1_024
RESUME_SECONDS = 600.0  # whoever does not come back leaves his use to others
TAIL_BYTES = 4_194_304  # what can be on its way, and lost, when the last of an answer has been handed on
PRIVATE = [
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-robots-tag", b"noindex"),
]
POLICY = (
    b"content-security-policy",
    b"default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
)
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{name}</title>
<h1><bdi>{name}</bdi></h1>
<p>{size} bytes. This link can be used {uses}.</p>
<form method="get"><input type="hidden" name="get" value="1"><button autofocus>Download</button></form>
</html>
"""
