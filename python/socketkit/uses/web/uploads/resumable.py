"""Uploads by tus 1.0, which can be gone on with (https://tus.io/protocols/resumable-upload)."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from ....hosting.link import new_token
from ..conditions import http_date
from . import tus
from .bodies import fill
from .digests import file_digests
from .names import fault_of
from .refusals import Refused
from .taking import address_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ....http.asgi import Receive, Scope, Send
    from .digests import Digest
    from .parts import Part
    from .taking import Taking

__all__ = ["Resumable", "say"]


class Resumable:
    """`create` begins an upload, `go_on` asks for it, adds to it or ends it; `abilities` says what it can do."""

    def __init__(self, taking: Taking) -> None:
        self._taking = taking
        # Whose last answer got lost on the way is told that his file is here.
        self._finished: OrderedDict[str, int] = OrderedDict()

    def abilities(self) -> list[tuple[bytes, bytes]]:
        return [
            tus.RESUMABLE,
            (b"tus-version", tus.VERSION),
            (b"tus-extension", b"creation,creation-with-upload,checksum,expiration,termination"),
            (b"tus-checksum-algorithm", b"sha1,sha256,sha512"),
            (b"tus-max-size", b"%d" % self._taking.max_bytes),
        ]

    async def create(
        self, scope: Scope, receive: Receive, send: Send, path: str, headers: Mapping[bytes, bytes]
    ) -> None:
        wanted = tus.creation_of(headers)
        if wanted.name is not None:
            if (fault := fault_of(wanted.name)) is not None:
                raise Refused(400, fault)
            path = f"{path.rstrip('/')}/{wanted.name}"
        with self._taking.opened_above(path) as folder:
            name = self._taking.require_name(path)
            self._taking.require_size(wanted.length)
            self._taking.require_absent(folder, name)
            token = new_token()
            async with self._taking.claims.hold(folder, name, token):
                part = await self._taking.parts.create(folder, token, wanted.length)
                try:
                    brings = headers.get(b"content-type") == tus.CONTENT
                    at = await self._append(receive, part, name, token, 0, headers) if brings else 0
                    if at is None:
                        await self._taking.parts.remove(part)  # he does not know its address
                        return
                    if not wanted.length and not brings:
                        await self._finish(part, name, token, headers)
                finally:
                    part.close()
            location = address_of(scope, folder, name) + f"?upload={token}-{wanted.length}".encode()
            told = [(b"location", location), (b"upload-offset", b"%d" % at), *self._expires()]
            await say(send, 201, [tus.RESUMABLE, (b"content-length", b"0"), *told])

    async def go_on(
        self, scope: Scope, receive: Receive, send: Send, path: str, headers: Mapping[bytes, bytes]
    ) -> None:
        method = scope["method"]
        if (known := tus.part_of(scope["query_string"])) is None:
            raise Refused(404, "this is no address of an upload")
        token, length = known
        with self._taking.opened_above(path) as folder:
            name = self._taking.require_name(path)
            async with self._taking.claims.hold(folder, name, token):
                if (part := self._taking.parts.find(folder, token, length)) is None:
                    if method == "HEAD" and self._finished.get(token) == length:
                        await say(send, 200, _progress(length, length))
                        return
                    raise Refused(404, "this upload is not here, or not any more: begin it anew")
                try:
                    if method == "HEAD":
                        if part.size == length:
                            # The last of it came, but not its end: whoever sees that all is here sends nothing more.
                            await self._finish(part, name, token, headers)
                            await say(send, 200, _progress(length, length))
                            return
                        await say(
                            send, 200, [*_progress(part.size, length), *self._expires(os.fstat(part.fd).st_mtime)]
                        )
                    elif method == "DELETE":
                        await self._taking.parts.remove(part)
                        await say(send, 204, [tus.RESUMABLE])
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
        self._taking.require_absent(part.folder, name)
        at = await self._append(receive, part, name, token, offset, headers)
        if at is not None:
            await say(send, 204, [tus.RESUMABLE, (b"upload-offset", b"%d" % at), *self._expires()])

    # --- what they share

    async def _append(
        self, receive: Receive, part: Part, name: bytes, token: str, at: int, headers: Mapping[bytes, bytes]
    ) -> int | None:
        """Where the upload is now; None: the client went away. A request that is refused leaves nothing behind."""
        assert part.length is not None
        given = headers.get(b"content-length", b"")
        if given.isdigit() and at + int(given) > part.length:
            raise Refused(413, f"this is more than the {part.length} bytes that the file was to have")
        filling = await self._taking.filling(part, at, headers)
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
            await self._taking.place(part, name, digests or file_digests(headers))
        except Refused:
            await self._taking.parts.remove(part)
            raise
        self._finished[token] = part.length
        while len(self._finished) > MOST_FINISHED:
            self._finished.popitem(last=False)

    def _expires(self, modified: float | None = None) -> list[tuple[bytes, bytes]]:
        since = time.time() if modified is None else modified
        return [(b"upload-expires", http_date(since + self._taking.parts.keep_seconds).encode())]


async def say(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body"})


def _progress(offset: int, length: int) -> list[tuple[bytes, bytes]]:
    told = [(b"upload-offset", b"%d" % offset), (b"upload-length", b"%d" % length)]
    return [tus.RESUMABLE, *told, (b"cache-control", b"no-store"), (b"content-length", b"0")]


MOST_FINISHED = 1024
