"""`serve`: a folder, a file or an application, opened where a person wants it, behind a link or a password."""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import http
from ...hosting import Wanted, host, place
from ...hosting.web import web
from .answers import answer
from .files import Files
from .giving import Once
from .links import Links
from .listing import Assets, Listing
from .loading import is_application, load
from .password import Password
from .tree import Tree
from .uploads import Uploads, fragment

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from ...hosting import Happening, Hosted, Place
    from ...http import Access
    from ...http.asgi import Application, Receive, Scope, Send
    from ...limits import Limits

__all__ = ["Manner", "Site", "serve"]


class Manner(NamedTuple):
    """How a folder or a file is served."""

    hidden: bool = False
    """Names with a dot in front are there, too."""
    listed: bool = True
    """A folder without `index.html` shows what is in it."""
    password: str | None = None
    """In place of the link's token; only where nobody on the way can read it."""
    once: bool = False
    """One file, until somebody has all of it."""
    upload: bool = False
    """Who is let in may put files into the folder."""
    overwrite: bool = False
    """Uploads may replace files that are there."""
    max_bytes: int | None = None
    """What one upload may have; None: 64 GiB."""
    quota_bytes: int | None = None
    """What all files of the folder may have together with what is uploaded; None: no bound but the disk's."""
    keep_seconds: float | None = None
    """How long an upload is kept that nobody goes on with; None: a day."""


class Site:
    """What is served, made from what a person named. `name` is what it is called. `with` closes its folder.

    Raises NoApplication, OSError where the folder or file cannot be opened, and ValueError for what is contradictory.
    """

    def __init__(self, target: str | os.PathLike[str], manner: Manner | None = None) -> None:
        self.manner = manner = manner or Manner()
        self.tree: Tree | None = None
        self.links: Links | None = None
        """Makes links to single files, once the service is opened; an application has none."""
        self._hosted: Hosted | None = None
        self._uploads: Uploads | None = None
        self._files: Files | None = None
        if not manner.upload and (manner.overwrite or self._of_uploads(manner)):
            words = (
                "what uploads may do is said (--overwrite, --max-size, --quota, --keep-unfinished), but not --upload"
            )
            raise ValueError(words)
        if isinstance(target, str) and is_application(target):
            if manner.once or manner.hidden or manner.upload or not manner.listed:
                words = "hidden files, lists, --once and --upload are for folders and files, and this is an application"
                raise ValueError(words)
            self.name = target
            self._application = load(target)
            return
        self.tree = Tree(target, hidden=manner.hidden)
        self.name = self.tree.path
        try:
            self._application = self._of_tree(self.tree)
        except BaseException:
            self.tree.close()
            raise

    def opened(self, place: Place, **options: Any) -> Callable[[Hosted], AbstractAsyncContextManager[http.Service]]:
        """What `hosting.host` opens; `options` are those of `socketkit.http.serve`."""

        application = self._application
        if self._files is not None and place.token is None and self.manner.password is None and not self.manner.upload:
            # Nobody is asked for anything, so that nothing but its target decides about an answer.
            options["prepared"] = self._files.prepare()
        if self.manner.password is not None:
            if "plaintext" in place.endpoint.query:
                raise ValueError("a password is not sent in plain text over a network: leave --plaintext out")
            application = Password(application, self.manner.password)
        if self._uploads is not None:
            options.setdefault("body_bytes", self._uploads.body_bytes)
        opening = web(application, before=None if self.tree is None else self._linked, **options)

        @asynccontextmanager
        async def open_service(hosted: Hosted) -> AsyncIterator[http.Service]:
            self._hosted = hosted
            tidied = nullcontext() if self._uploads is None else self._uploads.tidied()
            async with opening(hosted) as service, tidied:
                yield service

        return open_service

    def close(self) -> None:
        """Idempotent."""
        if self.tree is not None:
            self.tree.close()

    def _of_tree(self, tree: Tree) -> Application:
        if tree.only is None:
            if self.manner.once:
                raise ValueError("only one file can be given away once: name it")
            self._uploads = self._taking(tree) if self.manner.upload else None
            listing = Listing(tree, above=fragment if self.manner.upload else None) if self.manner.listed else None
            self._files = Files(tree, listing, self._uploads)
            return Assets(self._files)
        if self.manner.upload:
            raise ValueError("uploads need a folder to go into, and this is a file")
        files = Files(tree)
        with _of(tree, tree.only) as opened:
            only = _Only(files, opened.names[-1])
            return Once(only, opened.size, self._given) if self.manner.once else only

    def _taking(self, tree: Tree) -> Uploads:
        return Uploads(tree, overwrite=self.manner.overwrite, **self._of_uploads(self.manner))

    @staticmethod
    def _of_uploads(manner: Manner) -> dict[str, Any]:
        """What is said of uploads, beside their own defaults."""
        said = {name: getattr(manner, name) for name in ("max_bytes", "quota_bytes", "keep_seconds")}
        return {name: value for name, value in said.items() if value is not None}

    def _linked(self, gate: Application) -> Application:
        """Who has a link to one file needs no other."""
        assert self.tree is not None
        self.links = Links(self.tree, gate)
        return self.links

    def _given(self) -> None:
        if self._hosted is not None:
            self._hosted.stop("the file was given away")


@asynccontextmanager
async def serve(
    target: str | os.PathLike[str] = ".",
    wanted: Wanted | None = None,
    manner: Manner | None = None,
    *,
    seconds: float | None = None,
    limits: Limits | None = None,
    access: Callable[[Access], None] | None = None,
    tell: Callable[[Happening], None] | None = None,
) -> AsyncIterator[Hosted]:
    """Serve a folder, a file, or an ASGI application (`module:app`) for as long as the block runs.

    Without `wanted` only this machine reaches it. The block gets a `Hosted`: `link.url` to hand out, `peers`, and
    `wait()`, which returns after `seconds`, or when the file of `Manner(once=True)` is gone. `access` is called with
    an `Access` behind every answer, `tell` when a peer comes or goes. Raises what `listen` does, and what `Site` does.
    """
    site = Site(target, manner)
    try:
        wanted = wanted or Wanted()
        if site.manner.password is not None:
            wanted = wanted._replace(public=True)  # it is asked for in place of the token
        where = place(wanted)
        opened = site.opened(where, limits=limits, access=access)
        async with host(opened, where, seconds=seconds, tell=tell) as hosted:
            yield hosted
    finally:
        site.close()


class _Only:
    """One file: whoever asks for nothing is sent on to it, so that it is kept under its own name."""

    def __init__(self, files: Files, name: bytes) -> None:
        from urllib.parse import quote

        self._files = files
        self._target = f"/{quote(name)}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/" and scope["method"] in ("GET", "HEAD"):
            location = (scope.get("root_path", "") + self._target).encode()
            headers = [(b"location", location), (b"cache-control", b"no-store")]
            await answer(scope, send, 302, "text/plain; charset=utf-8", b"", headers)
        else:
            await self._files(scope, receive, send)


def _of(tree: Tree, name: str) -> Any:
    opened = tree.open(f"/{name}")
    if opened is None:
        raise FileNotFoundError(2, "it is no plain file, or its name begins with a dot (--hidden serves it)", name)
    return opened
