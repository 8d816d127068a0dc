"""`Prepared`: answers that the engine gives by itself, for what is asked again and again and is the same for everybody.

They cost no Python at all. What decides about an answer besides its target (ranges, conditions, credentials, a body)
goes to the application, and so does what has grown too old, which may be prepared anew then, and a head that does not
come in one piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _core
from .access import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Prepared:
    """A bounded table from targets to whole answers of HTTP/1.1; for `serve(..., prepared=...)`.

    `folder` is the descriptor of the folder whose files `put_file` takes; it stays the caller's, and may be closed.
    """

    def __init__(self, most_bytes: int = 67_108_864, *, folder: int | None = None) -> None:
        self._answers = _core.Answers(most_bytes, folder)

    def put(
        self,
        target: str,
        body: bytes,
        headers: Iterable[tuple[bytes, bytes]] = (),
        *,
        status: int = 200,
        valid_seconds: float = 1.0,
    ) -> bool:
        """Answer GET and HEAD of `target` (path and query, as clients send them) with this; False: there is no room.

        Date, content-length and what belongs to the connection are added. After `valid_seconds` it is as if it had
        never been. Raises ValueError for headers that none can be.
        """
        return self._answers.put(target.encode("ascii"), status, list(headers), body, valid_seconds)

    def put_file(
        self, host: bytes, target: str, file: int, path: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> bool:
        """Answer GET and HEAD of `target` with a file, for as long as it is the same; False: it is not kept.

        Only those are answered whose Host is `host`, as it is written in a request that the application let in: who
        calls this side otherwise may be another site (DNS rebinding).

        `file` is open now, and at `path` beneath the folder. Each request opens that path anew, out of which no link
        leads, and gets what is there: if it is another file by then, or was written (by inode, size and times), the
        answer is forgotten, and the application asked. So is it where the disk would have to be waited for. Files of
        more than 64 KiB are not kept. When the table is full, its files make room. Raises as `put` does, and OSError.
        """
        return self._answers.put_file(host, target.encode("ascii"), list(headers), file, path)

    def remove(self, target: str) -> None:
        self._answers.remove(target.encode("ascii"))

    def clear(self) -> None:
        self._answers.clear()

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def answered(self) -> int:
        """How many requests it has answered."""
        return self._answers.answered

    def _tell(self, access: Callable[[Access], None]) -> None:
        """Give `access` what was answered since the last call; its `seconds` are 0."""
        for peer, method, target, status, sent_bytes, version in self._answers.take_hits():
            access(Access(peer, method, target.decode("ascii"), status, sent_bytes, 0.0, version))


TELL_SECONDS = 0.5
