"""`archived`: a folder as a ZIP file that is made while it is sent (APPNOTE 6.3: ZIP64, data descriptors).

Nothing is compressed: pictures and films are already, and the network is mostly slower than the disk. What may not be
seen in the folder, or leads out of it, is not in the archive; a folder that several links lead to is there once.
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
import zipfile
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ...http.asgi import Scope, Send
    from .tree import Opened, Tree

__all__ = ["archived", "send_archive"]


async def send_archive(scope: Scope, send: Send, tree: Tree, folder: Opened, name: str) -> None:
    """Answer with an archive of the folder; `name` is that of the archive, and of the folder in it."""
    plain = "".join(char if char.isascii() and char.isprintable() and char not in '"\\' else "_" for char in name)
    called = f"attachment; filename=\"{plain}.zip\"; filename*=UTF-8''{quote(shown(name), safe='')}.zip"
    fields = [
        (b"content-type", b"application/zip"),
        (b"content-disposition", called.encode("ascii")),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    if scope["method"] != "HEAD":
        async for piece in _in_thread(archived(tree, folder, name)):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


def archived(tree: Tree, folder: Opened, name: str) -> Iterator[bytes]:
    """The archive in pieces of some hundred kB. OSError if there is more in the folder than an archive may have."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:  # type: ignore[call-overload]  # it writes, and no more is asked of it
        for path, opened in _walked(tree, folder, shown(name) or "files"):
            with opened:
                yield from _added(archive, sink, path, opened)
    yield sink.taken()


def _added(archive: zipfile.ZipFile, sink: _Sink, path: str, opened: Opened) -> Iterator[bytes]:
    info = zipfile.ZipInfo(path, _moment(opened.status.st_mtime))
    info.extra = _exact_time(opened.status.st_mtime)
    info.external_attr = (opened.status.st_mode & 0xFFFF) << 16
    if opened.is_folder:
        archive.writestr(info, b"")
        return
    # What a file grows by while it is read comes too late: the size decides on ZIP64.
    left = opened.size
    with archive.open(info, "w", force_zip64=left >= ZIP64_BYTES) as into:
        while left > 0 and (data := os.read(opened.fd, min(left, READ_BYTES))):
            into.write(data)
            left -= len(data)
            if sink.count >= PIECE_BYTES:
                yield sink.taken()
    if sink.count >= PIECE_BYTES:
        yield sink.taken()


def _walked(tree: Tree, folder: Opened, top: str) -> Iterator[tuple[str, Opened]]:
    """Every file and folder below, with its path in the archive; folders end with a slash, and come first."""
    seen = {_identity(folder)}
    count = 0
    waiting = [(b"/".join(folder.names), f"{top}/")]
    while waiting:
        at, path = waiting.pop()
        opened = _opened(tree, at)
        if opened is None:
            continue
        with ExitStack() as closing:
            closing.enter_context(opened)
            entries = sorted(tree.entries(opened), key=lambda entry: entry.name)
            closing.pop_all()
        yield path, opened  # whoever gets one closes it
        names: set[str] = set()
        folders = []
        for entry in entries:
            count += 1
            if count > MOST_ENTRIES:
                raise OSError(f"there are more than {MOST_ENTRIES:,} files in it: too many for one archive")
            child = at + b"/" + os.fsencode(entry.name)
            inside = path + _unused(shown(entry.name), names)
            found = _opened(tree, child)
            if found is None:  # it went meanwhile
                continue
            if not found.is_folder:
                yield inside, found
                continue
            with found:
                # Once, or links that lead upwards would never end.
                if _identity(found) not in seen:
                    seen.add(_identity(found))
                    folders.append((child, f"{inside}/"))
        waiting += reversed(folders)


def _opened(tree: Tree, path: bytes) -> Opened | None:
    try:
        return tree.open("/" + os.fsdecode(path))
    except PermissionError:
        return None


def shown(name: str) -> str:
    """A name that every system can have in an archive, and that leads nowhere."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join("_" if char in '\\/:*?"<>|' or ord(char) < 32 else char for char in text)


def _unused(name: str, names: set[str]) -> str:
    stem, suffix = os.path.splitext(name)
    number, found = 2, name
    while found in names:
        number, found = number + 1, f"{stem} ({number}){suffix}"
    names.add(found)
    return found


def _identity(opened: Opened) -> tuple[int, int]:
    return opened.status.st_dev, opened.status.st_ino


def _moment(seconds: float) -> tuple[int, int, int, int, int, int]:
    """As a ZIP file writes it: in two seconds' steps of this place's time, from 1980 to 2107."""
    moment = time.localtime(min(max(seconds, 0), 4e9))
    if moment.tm_year < 1980:
        return 1980, 1, 1, 0, 0, 0
    return moment.tm_year, moment.tm_mon, moment.tm_mday, moment.tm_hour, moment.tm_min, moment.tm_sec


def _exact_time(seconds: float) -> bytes:
    """The extended timestamp (Info-ZIP's extra field UT): seconds since 1970, wherever it is unpacked."""
    whole = int(seconds)
    return struct.pack("<HHBi", 0x5455, 5, 1, whole) if -(1 << 31) <= whole < 1 << 31 else b""


class _Sink:
    """Keeps what the archive writes until it is taken."""

    def __init__(self) -> None:
        self.count = 0
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        # A copy: the archive may write over what it has given.
        self._pieces.append(bytes(data))
        self.count += len(data)
        return len(data)

    def flush(self) -> None:
        pass

    def taken(self) -> bytes:
        pieces, self._pieces, self.count = self._pieces, [], 0
        return b"".join(pieces)


async def _in_thread(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Each made in a thread when it is asked for, so that one piece is there at a time; ends with its reader."""
    loop = asyncio.get_running_loop()
    making: asyncio.Future[bytes | None] | None = None
    try:
        while True:
            making = loop.run_in_executor(None, next, pieces, None)
            piece = await asyncio.shield(making)
            if piece is None:
                return
            if piece:
                yield piece
    finally:
        if making is not None and not making.done():
            # The thread is still in it: its files are closed when it comes out.
            making.add_done_callback(lambda made: _end(made, pieces))
        else:
            _close(pieces)


def _end(made: asyncio.Future[bytes | None], pieces: Iterator[bytes]) -> None:
    if not made.cancelled():
        made.exception()  # looked at: nobody else will
    _close(pieces)


def _close(pieces: Iterator[bytes]) -> None:
    pieces.close()  # type: ignore[attr-defined]  # generators have it


READ_BYTES = 262_144
PIECE_BYTES = 524_288
ZIP64_BYTES = 0x7FFF_FFFF  # where zipfile itself begins
MOST_ENTRIES = 100_000
