"""A file by PUT: whole, or gone on with behind the bytes that are here (`curl -C`)."""

from __future__ import annotations

import hashlib
import os
from base64 import b32encode
from typing import TYPE_CHECKING

from ....hosting.link import new_token
from ..answers import answer
from .bodies import fill
from .refusals import Refused
from .taking import address_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ....http.asgi import Receive, Scope, Send
    from ..tree import Opened
    from .parts import Part
    from .taking import Filled, Taking

__all__ = ["take_put"]


async def take_put(
    taking: Taking, scope: Scope, receive: Receive, send: Send, path: str, headers: Mapping[bytes, bytes]
) -> None:
    """Take the body as the file of this path, from where Content-Range says on."""
    first, length = _range_of(headers)
    with taking.opened_above(path) as folder:
        name = taking.require_name(path)
        taking.require_size(length or 0)
        taking.require_absent(folder, name)
        async with taking.claims.hold(folder, name):
            part = await _part_of(taking, folder, name, first, length)
            try:
                filling = await taking.filling(part, first, headers)
                if not await fill(receive, filling.into):
                    # Of what nobody can name again, nothing is kept.
                    if length is None:
                        await taking.parts.remove(part)
                    return
                _require_whole(part, filling)
                replaced = await taking.place(part, name, filling.of_file)
            except BaseException as failure:
                if length is None or isinstance(failure, Refused):
                    await taking.parts.remove(part)
                raise
            finally:
                part.close()
    words = f"{filling.into.at} bytes are here as {os.fsdecode(name)}\n".encode("utf-8", "replace")
    location = [] if replaced else [(b"location", address_of(scope, folder, name))]
    await answer(scope, send, 200 if replaced else 201, TEXT, words, location)


async def _part_of(taking: Taking, folder: Opened, name: bytes, first: int, length: int | None) -> Part:
    """The part of a PUT is known by name and length, so that `curl -C` can go on with it."""
    if length is None:
        return await taking.parts.create(folder, new_token(), None)
    token = "put" + b32encode(hashlib.sha256(name).digest()[:14]).decode().lower().rstrip("=")
    part = await taking.parts.create(folder, token, length, reuse=True)
    size = part.size
    if first > size:
        part.close()
        words = f"{size} bytes of it are here: go on from there (curl -C {size} -T ...)"
        raise Refused(409, words, [(b"upload-offset", b"%d" % size)])
    part.truncate(first)
    return part


def _require_whole(part: Part, filling: Filled) -> None:
    for digest in filling.of_body:
        digest.check()
    if part.length is not None and filling.into.at != part.length:
        raise Refused(400, f"these were {filling.into.at} bytes of {part.length}")


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


TEXT = "text/plain; charset=utf-8"
