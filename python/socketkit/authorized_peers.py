"""Who may connect to this user's listeners: the file `authorized_peers`, as SSH's authorized_keys.

    sk1:... comment         one line for each peer
    @revoked sk1:...        never to be accepted, whatever another line says

What the listener goes by is how the engine reads the file, so a line that it cannot read lets nobody in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from . import _core, home, kept_file
from .errors import IdentityError
from .fingerprint import canonical

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable


class AuthorizedPeer(NamedTuple):
    """A line of the file, by its number."""

    fingerprint: str
    comment: str
    revoked: bool
    line: int


class AuthorizedPeers:
    """The file at `path`, or this user's own. Nothing of it is kept in memory: another program may change it.

    Every method raises IdentityError if others can write to the file or if it is too large. Those that change it do so
    in one step, which loses no other program's change.
    """

    __slots__ = ("path",)

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = home.file("authorized_peers") if path is None else kept_file.absolute(path)

    def fingerprints(self) -> tuple[str, ...]:
        """Who may connect, without those who are revoked. Raises IdentityError for a line that cannot be read."""
        try:
            allowed, revoked = _core.parse_authorized(self._text())
        except ValueError as failure:
            raise IdentityError(f"{self.path}, {failure}: repair the line or remove it") from None
        return tuple(_core.fingerprint_text(raw) for raw in dict.fromkeys(allowed) if raw not in revoked)

    def entries(self) -> tuple[AuthorizedPeer, ...]:
        """Every line that can be read."""
        return tuple(entry for entry in _parse(self._text()) if isinstance(entry, AuthorizedPeer))

    def faults(self) -> tuple[str, ...]:
        """Why each of the other lines cannot be read: `line 3: reason`."""
        return tuple(entry for entry in _parse(self._text()) if isinstance(entry, str))

    def add(self, fingerprint: str, comment: str = "") -> None:
        """Let this peer connect from now on. Raises IdentityError if it is revoked."""
        fingerprint = canonical(fingerprint)

        def edit(text: str) -> str:
            there = [entry for entry in _read(text) if entry.fingerprint == fingerprint]
            for entry in there:
                if entry.revoked:
                    raise IdentityError(
                        f"{fingerprint} is revoked by {self.path}, line {entry.line}: "
                        "take out the line if that is not true any more"
                    )
            return text if there else kept_file.with_line(text, fingerprint, comment)

        kept_file.change(self.path, edit)

    def remove(self, fingerprint: str) -> int:
        """Do not let this peer connect any more; returns how many lines that were. What is revoked stays revoked."""
        fingerprint = canonical(fingerprint)
        removed = 0

        def edit(text: str) -> str:
            nonlocal removed
            text, removed = _without(text, fingerprint)
            return text

        kept_file.change(self.path, edit)
        return removed

    def revoke(self, fingerprint: str, comment: str = "") -> None:
        """Never let this peer connect again."""
        fingerprint = canonical(fingerprint)

        def edit(text: str) -> str:
            text, _ = _without(text, fingerprint)
            known = any(entry.revoked and entry.fingerprint == fingerprint for entry in _read(text))
            return text if known else kept_file.with_line(text, f"{REVOKED} {fingerprint}", comment)

        kept_file.change(self.path, edit)

    def __repr__(self) -> str:
        return f"AuthorizedPeers({self.path!r})"

    def _text(self) -> str:
        # Names in comments may be in any encoding; a key is ASCII.
        return (kept_file.read(self.path) or b"").decode("utf-8", "replace")


def _read(text: str) -> Iterable[AuthorizedPeer]:
    return (entry for entry in _parse(text) if isinstance(entry, AuthorizedPeer))


def _parse(text: str) -> Iterable[AuthorizedPeer | str]:
    """Each line that says something, or why it cannot be read; by the engine, so that what is listed is what counts."""
    for number, line in enumerate(text.split("\n"), 1):
        try:
            allowed, revoked = _core.parse_authorized(line)
        except ValueError as failure:
            yield f"line {number}: {str(failure).removeprefix('line 1: ')}"
            continue
        for raw in allowed or revoked:
            words = line.split(None, 2 if revoked else 1)
            comment = words[-1].rstrip() if len(words) > (2 if revoked else 1) else ""
            yield AuthorizedPeer(_core.fingerprint_text(raw), comment, bool(revoked), number)


def _without(text: str, fingerprint: str) -> tuple[str, int]:
    doomed = {entry.line for entry in _read(text) if entry.fingerprint == fingerprint and not entry.revoked}
    return kept_file.without_lines(text, doomed), len(doomed)


REVOKED = "@revoked"
