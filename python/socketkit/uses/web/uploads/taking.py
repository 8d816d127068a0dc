"""What all ways of uploading share: where a file may go, its part, and that it gets its name whole."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING
from urllib.parse import quote

from .bodies import Filling
from .claims import Claims
from .digests import content_digests, file_digests
from .names import fault_of
from .parts import Parts
from .refusals import Refused
from .threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ....http.asgi import Scope
    from ..tree import Opened, Tree
    from .digests import Digest
    from .parts import Part

__all__ = ["Filled", "Taking", "address_of"]


class Taking:
    """Files into `tree`. `overwrite`: those that are there may be replaced; `max_bytes` is what one may have."""

    def __init__(self, tree: Tree, parts: Parts, *, overwrite: bool, max_bytes: int) -> None:
        self.overwrite = overwrite
        self.max_bytes = max_bytes
        self.parts = parts
        self.claims = Claims()
        self._tree = tree

    def opened_above(self, path: str) -> Opened:
        """The folder that a file of this path is in."""
        folder = self._tree.open(path.rpartition("/")[0])
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
        if (names := self._tree.names(path)) is None:
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

    async def filling(self, part: Part, at: int, headers: Mapping[bytes, bytes]) -> Filled:
        of_body, of_file = content_digests(headers), file_digests(headers)
        if at and of_file:
            await in_thread(part.digest, at, of_file)
        most = self.max_bytes if part.length is None else part.length
        return Filled(Filling(self.parts, part, at, most, [*of_body, *of_file]), of_body, of_file)

    async def place(self, part: Part, name: bytes, digests: Sequence[Digest] = ()) -> bool:
        """Give a whole part its name; whether another file was replaced. Raises Refused if it may not have it."""
        for digest in digests:
            digest.check()
        self.require_absent(part.folder, name)
        try:
            return await self.parts.finish(part, name, overwrite=self.overwrite)
        except FileExistsError:
            raise Refused(409, THERE) from None


class Filled:
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


THERE = "a file of this name is here, and is not replaced: choose another name (or have it served with --overwrite)"
