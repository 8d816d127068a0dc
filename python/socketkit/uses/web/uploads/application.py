"""`Uploads`: the part of a web service that takes files: PUT, a plain form, and tus 1.0, which can be gone on with."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from base64 import b32encode
from collections import OrderedDict
from typing import TYPE_CHECKING
from urllib.parse import quote

from ....errors import SocketError
from ....hosting.link import new_token
from ....http.origin import is_foreign
from ..answers import answer, refuse
from ..conditions import http_date
from . import tus
from .bodies import Filling, fill
from .claims import Claims
from .digests import content_digests, file_digests
from .names import fault_of
from .parts import KEEP_SECONDS, Parts
from .refusals import Refused
from .threads import in_thread
from .tidying import tidied

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from ....http.asgi import Receive, Scope, Send
    from ..tree import Opened, Tree
    from .digests import Digest
    from .parts import Part

__all__ = ["Uploads"]


class Uploads:
    """Takes files into `tree`: what `Files(tree, changes=...)` asks.

    A file appears under its name when all of it is on the disk; until then it is a hidden part beside it, which is kept
    for `keep_seconds`. `overwrite`: files that are there may be replaced. `max_bytes` is what a file, or a form, may
    have; `quota_bytes` what all files in the tree may have together (None: no bound but the disk's); `free_bytes` are
    kept free on the disk; `most_parts` is how many uploads may be unfinished at a time.
    """

    def __init__(
        self,
        tree: Tree,
        *,
        overwrite: bool = False,
        max_bytes: int = 68_719_476_736,
        quota_bytes: int | None = None,
        free_bytes: int = 268_435_456,
        most_parts: int = 64,
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        self.overwrite = overwrite
        self.max_bytes = max_bytes
        self.tree = tree
        self.parts = Parts(
            tree, quota_bytes=quota_bytes, free_bytes=free_bytes, most=most_parts, keep_seconds=keep_seconds
        )
        self.claims = Claims()
        # Whose last answer got lost on the way is told that his file is here.
        self._finished: OrderedDict[str, int] = OrderedDict()

    @property
    def body_bytes(self) -> int:
        """What `socketkit.http.serve` is to let through as `body_bytes`."""
        return self.max_bytes + FORM_BYTES

    async def tidy(self) -> None:
        """Remove what nobody has gone on with for so long; every upload does so, too, at most twice a minute."""
        await self.parts.tidy()

    def tidied(self) -> AbstractAsyncContextManager[None]:
        """A block in which that is done at its beginning, and then each hour at least."""
        return tidied(self.parts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        headers = dict(scope["headers"])
        resumable = b"tus-resumable" in headers
        told = [tus.RESUMABLE] if resumable else []
        try:
            if is_foreign(scope):  # the browser of somebody who is let in here would put files here
                words = "this comes from a page of another site: uploads are taken from pages of this one"
                raise Refused(403, words)
            if self.tree.only is not None:
                raise Refused(405, "one file is served here: there is no folder to upload into", [ALLOWED])
            match scope["method"], resumable:
                case "OPTIONS", _:
                    await _say(send, 204, [ALLOWED, *self._abilities()])
                case "PUT", _:
                    await self._put(scope, receive, send, path, headers)
                case "POST", True:
                    tus.require_version(headers)
                    await self._create(scope, receive, send, path, headers)
                case "POST", False:
                    from .forms import take_form

                    await take_form(self, scope, receive, send, path, headers)
                case (("PATCH" | "HEAD" | "DELETE"), True):
                    tus.require_version(headers)
                    await self._go_on(scope, receive, send, path, headers)
                case _:
                    raise Refused(405, "uploads come by PUT, by POST of a form, or by tus 1.0", [ALLOWED])
        except Refused as refused:
            await refuse(scope, send, refused.status, refused.words, [*told, *refused.headers])
        except SocketError:
            raise
        except TimeoutError:
            await refuse(scope, send, 409, "this upload is gone on with by another request", told)
        except OSError as failure:
            await refuse(scope, send, *_told(failure), told)

    # --- the three ways

    async def _put(self, scope: Scope, receive: Receive, send: Send, path: str, headers: Mapping[bytes, bytes]) -> None:
        first, length = _range_of(headers)
        with self.opened_above(path) as folder:
            name = self.require_name(path)
            self.require_size(length or 0)
            self.require_absent(folder, name)
            async with self.claims.hold(folder, name):
                part = await self._part_of_put(folder, name, first, length)
                try:
                    filling = await self._filling(part, first, headers)
                    if not await fill(receive, filling.into):
                        # Of what nobody can name again, nothing is kept.
                        if length is None:
                            await self.parts.remove(part)
                        return
                    await self._require_whole(part, filling)
                    replaced = await self.place(part, name, filling.of_file)
                except BaseException as failure:
                    if length is None or isinstance(failure, Refused):
                        await self.parts.remove(part)
                    raise
                finally:
                    part.close()
        words = f"{filling.into.at} bytes are here as {os.fsdecode(name)}\n".encode("utf-8", "replace")
        location = [] if replaced else [(b"location", address_of(scope, folder, name))]
        await answer(scope, send, 200 if replaced else 201, TEXT, words, location)

    async def _create(
        self, scope: Scope, receive: Receive, send: Send, path: str, headers: Mapping[bytes, bytes]
    ) -> None:
        wanted = tus.creation_of(headers)
        if wanted.name is not None:
            if (fault := fault_of(wanted.name)) is not None:
                raise Refused(400, fault)
            path = f"{path.rstrip('/')}/{wanted.name}"
        with self.opened_above(path) as folder:
            name = self.require_name(path)
            self.require_size(wanted.length)
            self.require_absent(folder, name)
            token = new_token()
            async with self.claims.hold(folder, name, token):
                part = await self.parts.create(folder, token, wanted.length)
                try:
                    brings = headers.get(b"content-type") == tus.CONTENT
                    at = await self._append(receive, part, name, token, 0, headers) if brings else 0
                    if at is None:
                        await self.parts.remove(part)  # he does not know its address
                        return
                    if not wanted.length and not brings:
                        await self._finish(part, name, token, headers)
                finally:
                    part.close()
            location = address_of(scope, folder, name) + f"?upload={token}-{wanted.length}".encode()
            told = [(b"location", location), (b"upload-offset", b"%d" % at), *self._expires()]
            await _say(send, 201, [tus.RESUMABLE, (b"content-length", b"0"), *told])

    async def _go_on(
        self, scope: Scope, receive: Receive, send: Send, path: str, headers: Mapping[bytes, bytes]
    ) -> None:
        method = scope["method"]
        if (known := tus.part_of(scope["query_string"])) is None:
            raise Refused(404, "this is no address of an upload")
        token, length = known
        with self.opened_above(path) as folder:
            name = self.require_name(path)
            async with self.claims.hold(folder, name, token):
                if (part := self.parts.find(folder, token, length)) is None:
                    if method == "HEAD" and self._finished.get(token) == length:
                        await _say(send, 200, _progress(length, length))
                        return
                    raise Refused(404, "this upload is not here, or not any more: begin it anew")
                try:
                    if method == "HEAD":
                        if part.size == length:
                            # The last of it came, but not its end: whoever sees that all is here sends nothing more.
                            await self._finish(part, name, token, headers)
                            await _say(send, 200, _progress(length, length))
                            return
                        await _say(
                            send, 200, [*_progress(part.size, length), *self._expires(os.fstat(part.fd).st_mtime)]
                        )
                    elif method == "DELETE":
                        await self.parts.remove(part)
                        await _say(send, 204, [tus.RESUMABLE])
                    else:
                        await self._patch(receive, send, part, name, token, headers)
                finally:
                    part.close()

    async def _patch(
        self, receive: Receive, send: Send, part: Part, name: bytes, token: str, headers: Mapping[bytes, bytes]
    ) -> None:
        if headers.get(b"content-type") != tus.CONTENT:
            raise Refused(415, f"the content type of a PATCH is {tus.CONTENT.decode()}")
        offset, size = tus.number(headers, b"upload-offset"), part.size
        if offset != size:
            words = f"{size} bytes are here, and yours begin at {offset}: go on from there"
            raise Refused(409, words, [(b"upload-offset", b"%d" % size)])
        self.require_absent(part.folder, name)
        at = await self._append(receive, part, name, token, offset, headers)
        if at is not None:
            await _say(send, 204, [tus.RESUMABLE, (b"upload-offset", b"%d" % at), *self._expires()])

    # --- what they share

    async def _append(
        self, receive: Receive, part: Part, name: bytes, token: str, at: int, headers: Mapping[bytes, bytes]
    ) -> int | None:
        """Where the upload is now; None: the client went away. A request that is refused leaves nothing behind."""
        assert part.length is not None
        given = headers.get(b"content-length", b"")
        if given.isdigit() and at + int(given) > part.length:
            raise Refused(413, f"this is more than the {part.length} bytes that the file was to have")
        filling = await self._filling(part, at, headers)
        kept = False
        try:
            whole = await fill(receive, filling.into)
            if whole or not filling.of_body:
                for digest in filling.of_body:
                    digest.check()
                kept = True
        except Refused as refused:
            kept = refused.status == 507 and not filling.of_body
            raise
        except BaseException:
            kept = not filling.of_body
            raise
        finally:
            if not kept:
                part.truncate(at)
        if not whole:
            return None
        if filling.into.at == part.length:
            await self._finish(part, name, token, headers, filling.of_file)
        return filling.into.at

    async def _finish(
        self, part: Part, name: bytes, token: str, headers: Mapping[bytes, bytes], digests: Sequence[Digest] = ()
    ) -> None:
        assert part.length is not None
        try:
            await self.place(part, name, digests or file_digests(headers))
        except Refused:
            await self.parts.remove(part)
            raise
        self._finished[token] = part.length
        while len(self._finished) > MOST_FINISHED:
            self._finished.popitem(last=False)

    async def place(self, part: Part, name: bytes, digests: Sequence[Digest] = ()) -> bool:
        """Give a whole part its name; whether another file was replaced. Raises Refused if it may not have it."""
        for digest in digests:
            digest.check()
        self.require_absent(part.folder, name)
        try:
            return await self.parts.finish(part, name, overwrite=self.overwrite)
        except FileExistsError:
            raise Refused(409, THERE) from None

    async def _filling(self, part: Part, at: int, headers: Mapping[bytes, bytes]) -> _Filling:
        of_body, of_file = content_digests(headers), file_digests(headers)
        if at and of_file:
            await in_thread(part.digest, at, of_file)
        most = self.max_bytes if part.length is None else part.length
        return _Filling(Filling(self.parts, part, at, most, [*of_body, *of_file]), of_body, of_file)

    async def _require_whole(self, part: Part, filling: _Filling) -> None:
        for digest in filling.of_body:
            digest.check()
        if part.length is not None and filling.into.at != part.length:
            raise Refused(400, f"these were {filling.into.at} bytes of {part.length}")

    async def _part_of_put(self, folder: Opened, name: bytes, first: int, length: int | None) -> Part:
        """The part of a PUT is known by name and length, so that `curl -C` can go on with it."""
        if length is None:
            return await self.parts.create(folder, new_token(), None)
        token = "put" + b32encode(hashlib.sha256(name).digest()[:14]).decode().lower().rstrip("=")
        part = await self.parts.create(folder, token, length, reuse=True)
        size = part.size
        if first > size:
            part.close()
            words = f"{size} bytes of it are here: go on from there (curl -C {size} -T ...)"
            raise Refused(409, words, [(b"upload-offset", b"%d" % size)])
        part.truncate(first)
        return part

    def opened_above(self, path: str) -> Opened:
        """The folder that a file of this path is in."""
        folder = self.tree.open(path.rpartition("/")[0])
        if folder is None:
            raise Refused(404, "there is no such folder here: uploads make no folders")
        if not folder.is_folder:
            folder.close()
            raise Refused(409, "this is a file, not a folder: nothing can be put into it")
        return folder

    def require_name(self, path: str) -> bytes:
        """The last name of the path. Raises Refused if no file may be called so."""
        name = path.rpartition("/")[2]
        if (fault := fault_of(name)) is not None:
            raise Refused(400, fault)
        if (names := self.tree.names(path)) is None:
            raise Refused(403, "names that begin with a dot are hidden here: choose another one")
        return names[-1]

    def require_size(self, length: int) -> None:
        if length > self.max_bytes:
            raise Refused(413, f"a file may have {self.max_bytes} bytes here, this one has {length}")

    def require_absent(self, folder: Opened, name: bytes) -> None:
        """Raises Refused if what is there may not be replaced."""
        try:
            status = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISREG(status.st_mode):
            raise Refused(409, "this is the name of a folder, or of a link: choose another one")
        if not self.overwrite:
            raise Refused(409, THERE)

    def _expires(self, modified: float | None = None) -> list[tuple[bytes, bytes]]:
        import time

        since = time.time() if modified is None else modified
        return [(b"upload-expires", http_date(since + self.parts.keep_seconds).encode())]

    def _abilities(self) -> list[tuple[bytes, bytes]]:
        return [
            tus.RESUMABLE,
            (b"tus-version", tus.VERSION),
            (b"tus-extension", b"creation,creation-with-upload,checksum,expiration,termination"),
            (b"tus-checksum-algorithm", b"sha1,sha256,sha512"),
            (b"tus-max-size", b"%d" % self.max_bytes),
        ]


class _Filling:
    """What a request's body goes into, and what it is checked by."""

    __slots__ = ("into", "of_body", "of_file")

    def __init__(self, into: Filling, of_body: list[Digest], of_file: list[Digest]) -> None:
        self.into = into
        self.of_body = of_body
        self.of_file = of_file


def address_of(scope: Scope, folder: Opened, name: bytes) -> bytes:
    """A file's, below where the service is mounted."""
    mounted: str = scope.get("root_path", "")
    return f"{mounted}/{quote(b'/'.join([*folder.names, name]))}".encode("latin-1")


def _range_of(headers: Mapping[bytes, bytes]) -> tuple[int, int | None]:
    """Where a PUT begins, and how long the file is: what Content-Range says (curl -C), or the whole body."""
    given = headers.get(b"content-length", b"")
    length = int(given) if given.isdigit() else None
    if (field := headers.get(b"content-range")) is None:
        return 0, length
    unit, _, rest = field.decode("latin-1").strip().partition(" ")
    span, _, total = rest.partition("/")
    first, _, last = span.partition("-")
    numbers = (first, last, total)
    if unit != "bytes" or not all(text.isascii() and text.isdigit() and len(text) <= 18 for text in numbers):
        raise Refused(400, "Content-Range is written bytes FIRST-LAST/LENGTH")
    if int(first) > int(last) or int(last) + 1 != int(total) or length not in (None, int(total) - int(first)):
        raise Refused(400, "Content-Range: a file is gone on with to its end, by as many bytes as are missing")
    return int(first), int(total)


def _progress(offset: int, length: int) -> list[tuple[bytes, bytes]]:
    told = [(b"upload-offset", b"%d" % offset), (b"upload-length", b"%d" % length)]
    return [tus.RESUMABLE, *told, (b"cache-control", b"no-store"), (b"content-length", b"0")]


async def _say(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body"})


def _told(failure: OSError) -> tuple[int, str]:
    if failure.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return 507, "the disk is full: ask whoever serves this to make room"
    if failure.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return 403, "who serves this may not write here himself"
    if failure.errno == errno.ENAMETOOLONG:
        return 400, "this name is too long for the disk here: choose a shorter one"
    return 503, "it cannot be written just now"


ALLOWED = (b"allow", b"GET, HEAD, OPTIONS, PUT, POST, PATCH, DELETE")
TEXT = "text/plain; charset=utf-8"
THERE = "a file of this name is here, and is not replaced: choose another name (or have it served with --overwrite)"
FORM_BYTES = 65_536  # what stands in a form around its files
MOST_FINISHED = 1024
