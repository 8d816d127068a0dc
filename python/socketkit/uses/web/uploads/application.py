"""`Uploads`: the part of a web service that takes files: PUT, a plain form, and tus 1.0, which can be gone on with."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ....errors import SocketError
from ....http.origin import is_foreign
from ..answers import refuse
from . import tus
from .forms import form_bytes, take_form
from .parts import KEEP_SECONDS, Parts
from .put import take_put
from .refusals import Refused
from .resumable import Resumable, say
from .taking import Taking
from .tidying import tidied

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from ....http.asgi import Receive, Scope, Send
    from ..tree import Tree

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
        self._tree = tree
        self._parts = Parts(
            tree, quota_bytes=quota_bytes, free_bytes=free_bytes, most=most_parts, keep_seconds=keep_seconds
        )
        self._taking = Taking(tree, self._parts, overwrite=overwrite, max_bytes=max_bytes)
        self._resumable = Resumable(self._taking)

    @property
    def body_bytes(self) -> int:
        """What `socketkit.http.serve` is to let through as `body_bytes`."""
        return form_bytes(self._taking)

    async def tidy(self) -> None:
        """Remove what nobody has gone on with for so long; every upload does so, too, at most twice a minute."""
        await self._parts.tidy()

    def tidied(self) -> AbstractAsyncContextManager[None]:
        """A block in which that is done at its beginning, and then each hour at least."""
        return tidied(self._parts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        headers = dict(scope["headers"])
        resumable = b"tus-resumable" in headers
        told = [tus.RESUMABLE] if resumable else []
        try:
            if is_foreign(scope):  # the browser of somebody who is let in here would put files here
                words = "this comes from a page of another site: uploads are taken from pages of this one"
                raise Refused(403, words)
            if self._tree.only is not None:
                raise Refused(405, "one file is served here: there is no folder to upload into", [ALLOWED])
            match scope["method"], resumable:
                case "OPTIONS", _:
                    await say(send, 204, [ALLOWED, *self._resumable.abilities()])
                case "PUT", _:
                    await take_put(self._taking, scope, receive, send, path, headers)
                case "POST", True:
                    tus.require_version(headers)
                    await self._resumable.create(scope, receive, send, path, headers)
                case "POST", False:
                    await take_form(self._taking, scope, receive, send, path, headers)
                case (("PATCH" | "HEAD" | "DELETE"), True):
                    tus.require_version(headers)
                    await self._resumable.go_on(scope, receive, send, path, headers)
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


def _told(failure: OSError) -> tuple[int, str]:
    if failure.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return 507, "the disk is full: ask whoever serves this to make room"
    if failure.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return 403, "who serves this may not write here himself"
    if failure.errno == errno.ENAMETOOLONG:
        return 400, "this name is too long for the disk here: choose a shorter one"
    return 503, "it cannot be written just now"


ALLOWED = (b"allow", b"GET, HEAD, OPTIONS, PUT, POST, PATCH, DELETE")
