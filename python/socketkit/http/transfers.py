"""`download`: a file from a server, whatever happens on the way.

- A connection that breaks is made again, and what is there is not asked for twice: a range of just this version
  (`Range` with `If-Range`, RFC 9110 §13.1.5, §14). If the server has another version by now, or knows no ranges, all of
  it is asked for again, and that is said.
- Of a large file several ranges may come at once, over as many connections.
- What a server says of an answer must fit what was asked, and what was said before; a length that is not kept is a cut.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from ..errors import BrokenConnection, ConnectError, PeerViolation, raisable
from .claiming import PART_BYTES, Claims
from .client import is_transient
from .partial import Partial
from .ranges import content_length, length_of, range_of, validator_of
from .url import Url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from .client import Client, Response


class UnexpectedStatus(Exception):
    """The server answers, and not with the file."""

    def __init__(self, url: Url, status: int, reason: str) -> None:
        super().__init__(f"{url}: {status} {reason}".rstrip())
        self.status = status


class WrongDigest(Exception):
    """The file is not the one that was expected; nothing of it was kept."""


class Report(NamedTuple):
    """What a download came to."""

    file: str
    url: str
    """Where it came from, behind all redirects."""
    total_bytes: int
    received_bytes: int
    """In this run: less than `total_bytes` if some of it was there, more if some of it came twice."""
    resumed_bytes: int
    """What an earlier run had left, and was taken."""
    seconds: float
    connections: int
    """At most so many at once."""
    sha256: str | None
    fingerprint: str | None
    """The key that the server has proved; None in plain text."""


class Download:
    """One file on its way to `target`. `tell` hears, in words, of what a person should know. See `download`."""

    def __init__(
        self,
        client: Client,
        url: str | Url,
        target: Path,
        *,
        headers: Iterable[tuple[str, str]] = (),
        overwrite: bool = False,
        connections: int = 1,
        sha256: str | None = None,
        attempts: int = 6,
        tell: Callable[[str], None] = lambda words: None,
    ) -> None:
        self.url = Url.parse(url) if isinstance(url, str) else url
        self.received_bytes = 0
        """In this run."""
        self._client = client
        self._headers = list(headers)
        self._connections = connections
        self._expected = sha256
        self._attempts = attempts
        self._tell = tell
        self._partial = Partial(target, str(self.url), overwrite=overwrite)
        self._resumed = self._most = self._busy = 0
        self._claims = Claims(self._partial, connections)
        self._refused = False
        self._from = self.url
        self._fingerprint: str | None = None
        self._saved_at = 0.0

    @property
    def there_bytes(self) -> int:
        """How much of it is there, from an earlier run too."""
        return self._partial.count

    @property
    def total_bytes(self) -> int | None:
        """How much it is; None while the server has not said."""
        return self._partial.total

    @property
    def resumable(self) -> bool:
        """Whether what is there could be kept for another run."""
        return self._partial.count > 0 and self._partial.validator is not None

    async def run(self) -> Report:
        """Have it come, in as many attempts as that takes."""
        began = time.monotonic()
        partial = self._partial
        partial.open()
        try:
            self._resumed = partial.count
            if self._resumed:
                self._tell(f"{self._resumed:,} bytes are there: going on behind them")
            await self._persist()
            digest = await self._checked()
            partial.finish()
        except WrongDigest:
            partial.discard()
            raise
        except BaseException:
            self._leave()
            raise
        finally:
            partial.close()
        return Report(
            str(partial.target), str(self._from), partial.count, self.received_bytes, self._resumed,
            time.monotonic() - began, self._most, digest, self._fingerprint,
        )  # fmt: skip

    async def _persist(self) -> None:
        """Attempt after attempt, until it is there or there is no hope."""
        failed = restarts = 0
        while True:
            before = self.received_bytes
            try:
                await self._attempt()
                return
            except _OtherVersion as other:
                restarts += 1
                if restarts > MOST_RESTARTS:
                    raise raisable(PeerViolation)(f"{self.url.authority} sends another version each time") from None
                self._tell(f"{other}: starting again")
                self._partial.restart(None, None)
                self._resumed = 0
            except Exception as failure:
                wait = _wait_of(failure)
                never_met = isinstance(failure, ConnectError) and not self.received_bytes
                if never_met or not (is_transient(failure) or wait is not None):
                    raise
                failed = 0 if self.received_bytes > before else failed + 1
                if failed >= self._attempts:
                    raise
                self._tell(
                    f"{str(failure) or 'the server is silent'}: trying again, {self.there_bytes:,} bytes are there"
                )
                await asyncio.sleep(min(MOST_WAIT_SECONDS, wait or FIRST_WAIT_SECONDS * 2**failed))

    async def _attempt(self) -> None:
        if self._partial.complete:
            return
        if self._connections > 1 and not self._refused and await self._probe():
            await self._in_parts()
        if not self._partial.complete:
            await self._rest()

    # --- over one connection

    async def _rest(self) -> None:
        """What is missing behind what is there, in one answer; what has gaps takes several."""
        while True:
            if self._partial.validator is None:
                if self._partial.count:
                    self._tell("the server does not tell versions apart: starting again")
                self._partial.restart(None, None)
            start, end = self._partial.gap()
            async with self._client.get(self.url, self._asking(start, end)) as response:
                self._note(response)
                if response.status == 416 and start:
                    if length_of(response) == start and not self._partial.gap(start)[1]:
                        self._partial.total = start
                        return
                    raise _OtherVersion("the server does not know so much of it any more")
                await self._take(response, *self._begin(response, start, end))
            if self._partial.total is None:
                self._partial.total = self._partial.count
            if self._partial.complete:
                return
            if self._partial.gap() == (start, end):
                raise self._cut(response)

    def _begin(self, response: Response, start: int, end: int | None) -> tuple[int, int | None]:
        """Where the answer's bytes belong: [start, end)."""
        if response.status == 206 and (start or end is not None):
            return start, self._require_range(response, start, end)
        if response.status != 200:
            raise _unexpected(response)
        validator, length = validator_of(response), content_length(response)
        if start:
            if validator is None or validator != self._partial.validator:
                self._tell("the file has changed on the server: starting again")
            else:
                self._tell("the server sends no parts of a file: starting again")
            self._resumed = 0
        if response.header("content-encoding") not in (None, "identity"):
            self._tell(f"it is kept as it comes: {response.header('content-encoding')}")
        self._partial.restart(validator, length)
        return 0, length

    async def _take(self, response: Response, offset: int, end: int | None) -> None:
        async for chunk in response:
            if end is not None and offset + len(chunk) > end:
                raise raisable(PeerViolation)(f"{response.url.authority} sends more than it has announced")
            self._partial.write(offset, chunk)
            offset += len(chunk)
            self.received_bytes += len(chunk)
            await self._save_at_times()

    # --- over several

    async def _probe(self) -> bool:
        """Whether the file can come in parts: known in size, and told apart from other versions."""
        if self._partial.total is not None:
            return True
        async with self._client.get(self.url, [*self._headers, ("range", f"bytes=0-{PART_BYTES - 1}")]) as response:
            self._note(response)
            if response.status != 206:
                if response.status not in (200, 416):
                    raise _unexpected(response)
                if response.status == 200:
                    self._tell("the server sends no parts of a file: one connection it is")
                self._refused = True
                return False
            first, last, total = range_of(response)
            validator = validator_of(response)
            if first != 0 or total is None or validator is None:
                self._tell("the server does not tell versions apart: one connection it is")
                self._refused = True
                return False
            self._partial.restart(validator, total)
            await self._take(response, 0, self._require_range(response, 0, last + 1))
        return True

    async def _in_parts(self) -> None:
        self._claims.clear()
        self._busy = 0
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._connections):
                    group.create_task(self._work())
        except BaseExceptionGroup as several:
            changed = [failure for failure in several.exceptions if isinstance(failure, _OtherVersion)]
            raise (changed or several.exceptions)[0] from None

    async def _work(self) -> None:
        """One part after the other, as long as there are some."""
        self._busy += 1
        self._most = max(self._most, self._busy)
        try:
            while (part := self._claims.take()) is not None:
                try:
                    await self._part(*part)
                except (UnexpectedStatus, ConnectError) as failure:
                    # A server may allow fewer connections than were wanted: the others go on.
                    if self._busy == 1 or (isinstance(failure, UnexpectedStatus) and failure.status not in BUSY):
                        raise
                    self._claims.give_back(part)
                    return
                self._claims.give_back(part)
        finally:
            self._busy -= 1

    async def _part(self, start: int, end: int) -> None:
        async with self._client.get(self.url, self._asking(start, end)) as response:
            self._note(response)
            if response.status == 200:
                raise _OtherVersion("the file has changed on the server")
            if response.status != 206:
                raise _unexpected(response)
            await self._take(response, start, self._require_range(response, start, end))
        if self._partial.gap(start)[0] < end:
            raise self._cut(response)

    # --- what is common

    def _asking(self, start: int, end: int | None) -> list[tuple[str, str]]:
        if not start and (end is None or end == self._partial.total) and not self._claims:
            return self._headers
        asked = [*self._headers, ("range", f"bytes={start}-{'' if end is None else end - 1}")]
        if self._partial.validator is not None:
            asked.append(("if-range", self._partial.validator))
        return asked

    def _require_range(self, response: Response, start: int, end: int | None) -> int:
        """Where the answer ends; raises if it is not in the range that was asked for, of the version that is known."""
        first, last, total = range_of(response)
        if first != start or (end is not None and last >= end) or (total is not None and last >= total):
            raise raisable(PeerViolation)(f"{response.url.authority} sends another part than the one it was asked for")
        validator = validator_of(response)
        known = self._partial
        if (validator is not None and validator != known.validator) or (total or known.total) != (known.total or total):
            raise _OtherVersion("the file has changed on the server")
        known.total = known.total or total
        return last + 1

    def _note(self, response: Response) -> None:
        self._most = max(self._most, 1)
        self._from = response.url
        if response.stream is not None:
            self._fingerprint = response.stream.peer.fingerprint

    def _cut(self, response: Response) -> BrokenConnection:
        return raisable(BrokenConnection)(
            "receive", response.url.endpoint, "the server sent less than it was asked for"
        )

    async def _save_at_times(self) -> None:
        now = time.monotonic()
        if now - self._saved_at >= SAVE_SECONDS:
            self._saved_at = now
            await asyncio.to_thread(self._partial.save)

    async def _checked(self) -> str | None:
        if self._expected is None:
            return None
        digest = await asyncio.to_thread(self._partial.digest)
        if digest != self._expected.lower():
            raise WrongDigest(
                f"{self.url}: its SHA-256 is {digest}, expected was {self._expected.lower()}: nothing was kept"
            )
        return digest

    def _leave(self) -> None:
        """What is there stays for the next run, if that can use it."""
        if self._partial.validator is None or not self._partial.count:
            self._partial.discard()
        else:
            self._partial.save()


async def download(client: Client, url: str | Url, target: Path, **options: object) -> Report:
    """Have the file at `url` come to `target`.

    Nothing is written over unless `overwrite`; what is not whole is in `NAME.part`, and the next download of the same
    address goes on there. `connections`: over so many at once, if the server knows ranges. `sha256` must be that of the
    file (hex). `attempts`: so often in a row nothing may come. Raises what `Client.request` raises, UnexpectedStatus,
    WrongDigest, and TargetError.
    """
    return await Download(client, url, target, **options).run()  # type: ignore[arg-type]


class _OtherVersion(Exception):
    """What comes does not belong to what is there."""


def _unexpected(response: Response) -> UnexpectedStatus:
    failure = UnexpectedStatus(response.url, response.status, response.reason)
    after = response.header("retry-after") or ""
    if response.status in BUSY:
        failure.__notes__ = [after]
    return failure


def _wait_of(failure: Exception) -> float | None:
    """For how long a server that is busy asks to wait; None if it is not that."""
    if not isinstance(failure, UnexpectedStatus) or failure.status not in BUSY:
        return None
    (after,) = getattr(failure, "__notes__", [""])
    return float(after) if after.isdecimal() and len(after) < 6 else FIRST_WAIT_SECONDS


BUSY = frozenset({429, 500, 502, 503, 504})
FIRST_WAIT_SECONDS = 0.5
MOST_WAIT_SECONDS = 30.0
MOST_RESTARTS = 3
SAVE_SECONDS = 5.0
