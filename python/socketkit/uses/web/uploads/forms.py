"""Files in a form that a browser sends without any script, or `curl -F`: multipart/form-data (RFC 7578)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from ....hosting.link import new_token
from ....http.extra import REMEDY
from ..answers import answer
from .bodies import Filling
from .refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multipart import MultipartSegment, PushMultipartParser

    from ....http.asgi import Receive, Scope, Send
    from ..tree import Opened
    from .taking import Taking

__all__ = ["form_bytes", "take_form"]


def form_bytes(taking: Taking) -> int:
    """What a form may have: files, and what stands around them."""
    return taking.max_bytes + AROUND_BYTES


async def take_form(
    taking: Taking, scope: Scope, receive: Receive, send: Send, path: str, headers: Mapping[bytes, bytes]
) -> None:
    """Take the files of a form into the folder `path`.

    A file that is refused ends it: those before it are here, and the answer says so. A form that breaks leaves nothing
    of the file that was being sent, for a browser cannot go on with it.
    """
    given = headers.get(b"content-length", b"")
    length = int(given) if given.isdigit() else 0
    if length > form_bytes(taking):
        raise Refused(413, f"a form may have {taking.max_bytes} bytes here, this one has {length}")
    parser = _parser(headers.get(b"content-type", b"").decode("latin-1"))
    with taking.opened_above(f"{path.rstrip('/')}/x") as folder:
        await taking.parts.check(folder, length)
        form = _Form(taking, folder, path)
        try:
            whole = await form.take(receive, parser)
        except Refused as refused:
            if form.here:
                refused.words += f" ({', '.join(form.here)} from the same form came through)"
            raise
        finally:
            await form.close()
        if not whole:
            return
        if not form.here:
            raise Refused(400, "the form has no file in it: choose one")
    if b"text/html" in headers.get(b"accept", b""):
        back = scope.get("root_path", "") + "/" + "".join(f"{quote(name)}/" for name in folder.names)
        await answer(scope, send, 303, TEXT, b"", [(b"location", back.encode("latin-1"))])
    else:
        words = "".join(f"{name} is here\n" for name in form.here)
        await answer(scope, send, 201, TEXT, words.encode("utf-8", "replace"))


class _Form:
    """A form while it comes in."""

    def __init__(self, taking: Taking, folder: Opened, path: str) -> None:
        self.here: list[str] = []
        self._taking = taking
        self._folder = folder
        self._path = path.rstrip("/")
        self._current: _File | None = None

    async def take(self, receive: Receive, parser: PushMultipartParser) -> bool:
        """Whether all of it came."""
        from multipart import MultipartError, MultipartSegment

        more = True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                return False
            more = event.get("more_body", False)
            try:
                told = list(parser.parse(event["body"])) if event.get("body") else []
                if not more:
                    parser.close()
            except MultipartError as failure:
                raise Refused(400, f"this is no form that can be read: {failure}") from None
            for item in told:
                if isinstance(item, MultipartSegment):
                    await self._begin(item)
                elif item is None:
                    await self._end()
                elif self._current is not None:
                    await self._current.add(item)
        return True

    async def _begin(self, segment: MultipartSegment) -> None:
        # A field without a file, or a choice of none: browsers send an empty name then.
        if segment.filename:
            if len(self.here) >= MOST_FILES:
                raise Refused(413, f"a form has at most {MOST_FILES} files")
            self._current = _File(self._taking, self._folder, self._path, segment.filename)
            await self._current.open()

    async def _end(self) -> None:
        if (current := self._current) is not None:
            await current.finish()
            self.here.append(current.shown)
            await self.close()

    async def close(self) -> None:
        """Nothing is left of a file that did not come through."""
        if (current := self._current) is not None:
            self._current = None
            await current.close()


class _File:
    def __init__(self, taking: Taking, folder: Opened, path: str, name: str) -> None:
        self.shown = name
        self._taking = taking
        self._folder = folder
        if "/" in name or "\\" in name:
            raise Refused(400, "a name has no slashes in it: upload into a folder by its address")
        self._name = taking.require_name(f"{path}/{name}")
        taking.require_absent(folder, self._name)
        self._claim = taking.claims.hold(folder, self._name)
        self._claimed = False
        self._filling: Filling | None = None

    async def open(self) -> None:
        await self._claim.__aenter__()
        self._claimed = True
        self._part = await self._taking.parts.create(self._folder, new_token(), None)
        self._filling = Filling(self._taking.parts, self._part, 0, self._taking.max_bytes, ())

    async def add(self, data: bytes | bytearray) -> None:
        assert self._filling is not None
        await self._filling.add(data)

    async def finish(self) -> None:
        assert self._filling is not None
        await self._filling.flush()
        await self._taking.place(self._part, self._name)

    async def close(self) -> None:
        try:
            if self._filling is not None:
                await self._taking.parts.remove(self._part)
        finally:
            if self._claimed:
                await self._claim.__aexit__(None, None, None)


def _parser(kind: str) -> PushMultipartParser:
    try:
        from multipart import MultipartError, PushMultipartParser, parse_options_header
    except ImportError:
        raise Refused(501, f"forms are not read here, for a package is missing: {REMEDY}") from None
    name, options = parse_options_header(kind)
    if name != "multipart/form-data" or not options.get("boundary"):
        raise Refused(415, "files come by PUT, or in a form of the kind multipart/form-data")
    try:
        # Not its strict mode: that takes the line end behind the last border for data when it comes by itself.
        return PushMultipartParser(options["boundary"], max_segment_count=MOST_FIELDS)
    except MultipartError as failure:
        raise Refused(400, f"this is no form that can be read: {failure}") from None


TEXT = "text/plain; charset=utf-8"
MOST_FILES = 256
AROUND_BYTES = 65_536
MOST_FIELDS = 512
