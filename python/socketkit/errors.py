"""Every exception of socketkit, and who must act on it.

- The network or the kernel did it: `SocketError` (an `OSError`), with the operation, the endpoint and whether trying
  again may help.
- The caller did it: `EndpointError`, `IdentityError`, `HistoryError`, `MessageTooLarge`, `ClosedConnection`,
  `BusyConnection`.
- The peer broke the protocol: `PeerViolation`.
- The stream ended as it should: `EndOfStream`.

When anyio is loaded, the exceptions that it has words for are raised as subclasses of both, so that libraries written
for anyio's streams catch them (`raisable`).
"""

from __future__ import annotations

import errno as _errno
import os
import sys
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from .endpoint import Endpoint


class SocketError(OSError):
    """The network or the kernel refused: `operation endpoint: reason`.

    `operation` is the verb that failed, `endpoint` where it was directed (None when that is unknown), `errno` the
    kernel's number, `transient` whether the same call may succeed later without a change by the caller.
    """

    operation: str
    endpoint: Endpoint | None

    def __init__(self, operation: str, endpoint: Endpoint | None, reason: str, errno: int | None = None) -> None:
        self.operation = operation
        self.endpoint = endpoint
        self.reason = reason
        super().__init__(errno, reason)

    @property
    def transient(self) -> bool:
        return self.errno in _TRANSIENT

    def __str__(self) -> str:
        where = f" {self.endpoint}" if self.endpoint is not None else ""
        return f"{self.operation}{where}: {self.reason}"

    def __reduce__(self) -> tuple[object, ...]:
        # With the attributes, for what a subclass or a caller added: attempts, notes.
        return type(self), (self.operation, self.endpoint, self.reason, self.errno), self.__dict__


class ConnectError(SocketError):
    """No address of the endpoint could be connected; `attempts` holds one `SocketError` for each that was tried."""

    def __init__(
        self,
        operation: str,
        endpoint: Endpoint | None,
        reason: str,
        errno: int | None = None,
        attempts: tuple[SocketError, ...] = (),
    ) -> None:
        super().__init__(operation, endpoint, reason, errno)
        self.attempts = attempts


class UntrustedPeer(ConnectError):
    """The peer did not prove to be the one that was meant, and nothing was sent to it.

    `presented` is the fingerprint that it showed (None: none), `expected` those that would have been accepted.
    """

    def __init__(
        self,
        operation: str,
        endpoint: Endpoint | None,
        reason: str,
        errno: int | None = None,
        attempts: tuple[SocketError, ...] = (),
        *,
        presented: str | None = None,
        expected: tuple[str, ...] = (),
    ) -> None:
        super().__init__(operation, endpoint, reason, errno, attempts)
        self.presented = presented
        self.expected = expected


class ListenError(SocketError):
    """The endpoint could not be taken: in use, not permitted, not an address of this machine."""


class BrokenConnection(SocketError):
    """The connection was reset, timed out or vanished. What had arrived before can still be received."""


class UnreachablePeer(SocketError):
    """A message that was sent did not arrive, as somebody on the way says (RFC 1122 §4.1.3.3). The socket lives on.

    `endpoint` is where it was to go; the text says who told.
    """

    @property
    def transient(self) -> bool:
        """Always: a way that is closed now may be open for the next message."""
        return True


class Unsupported(SocketError):
    """This machine, or this version of socketkit, lacks what the endpoint needs; the text says what."""


class EndOfStream(EOFError):
    """The peer ended the stream cleanly; nothing more will come."""


class PeerViolation(ValueError):
    """What the peer sent breaks the protocol or a limit."""


class MessageTooLarge(ValueError):
    """More bytes than one message takes to there; nothing was sent.

    `most_bytes` is what would pass, as far as the kernel or the path has said; else None.
    """

    def __init__(self, text: str, most_bytes: int | None = None) -> None:
        super().__init__(text)
        self.most_bytes = most_bytes

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (*self.args, self.most_bytes), self.__dict__


class FaultyText(ValueError):
    """What the caller wrote cannot be read: `reason (hint)`, and the text with a caret under the fault.

    `text` is what was given, with *** for what may be a secret; `at` is the index of the fault in it.
    """

    def __init__(self, reason: str, text: str, at: int, hint: str | None = None) -> None:
        self.reason = reason
        self.text = text
        self.at = at
        self.hint = hint
        remedy = f" ({hint})" if hint else ""
        super().__init__(f"{reason}{remedy}{_pointed(text, at)}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.reason, self.text, self.at, self.hint), self.__dict__


class EndpointError(FaultyText):
    """The text is no endpoint."""


class SelectionError(FaultyText):
    """The text does not say which sockets are wanted."""


def _pointed(text: str, at: int) -> str:
    """Two lines: the text, or its part around `at` if it is long, and the caret."""
    if not text:
        return ""
    start, stop = (0, len(text)) if len(text) <= 160 else (max(0, at - 100), at + 50)
    # One for one, so that no control character moves the caret or reaches the terminal.
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[start:stop])
    before, after = "…" * (start > 0), "…" * (stop < len(text))
    return f"\n  {before}{line}{after}\n  {' ' * (at - start + len(before))}^"


class HistoryError(ValueError):
    """A file of history cannot be read or written as one; the text says why, and what helps."""


class IdentityError(ValueError):
    """A key, a fingerprint or a file that says whom to trust cannot be used: `what: remedy`.

    The text never holds a part of a key.
    """


class ClosedConnection(RuntimeError):
    """This side closed the connection (or its sending half) before."""


class BusyConnection(RuntimeError):
    """Another task is already receiving from this connection, or the engine is relaying it."""


def explain(number: int, operation: str = "") -> str:
    """A kernel error number in the words of a user, with the remedy where there is one.

    `operation`: the verb that failed, or `file` for a file that could not be read or written.
    """
    return _REASONS_OF.get((operation, number)) or _REASONS.get(number) or os.strerror(number).lower()


def from_errno(kind: type[SocketError], operation: str, endpoint: Endpoint | None, number: int) -> SocketError:
    return raisable(kind)(operation, endpoint, explain(number, operation), number)


def explained(error: _E, threat: str) -> _E:
    """`error` with a note that names the page about the threat behind it."""
    error.add_note(f"see docs/threats/{threat}.md")
    return error


def raisable(kind: type[_E]) -> type[_E]:
    """`kind`, or its subclass that anyio's users catch too if anyio is loaded by the time of raising."""
    if "anyio" not in sys.modules:
        return kind
    if kind not in _KNOWN_TO_ANYIO:
        _KNOWN_TO_ANYIO[kind] = _known_to_anyio(kind)
    return cast("type[_E]", _KNOWN_TO_ANYIO[kind])


def _known_to_anyio(kind: type[BaseException]) -> type[BaseException]:
    import anyio

    counterpart = {
        EndOfStream: anyio.EndOfStream,
        ClosedConnection: anyio.ClosedResourceError,
        BrokenConnection: anyio.BrokenResourceError,
        BusyConnection: anyio.BusyResourceError,
    }.get(kind)
    if counterpart is None:
        return kind

    def reduced(error: BaseException) -> tuple[object, ...]:
        # Pickle could not find this class by its name: the reader makes the one that its own process uses.
        parts = cast("tuple[object, ...]", kind.__reduce__(error))
        return _raisable_error, (kind, parts[1]), *parts[2:]

    body = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__reduce__": reduced}
    return type(kind.__name__, (kind, counterpart), body)


def _raisable_error(kind: type[BaseException], arguments: tuple[object, ...]) -> BaseException:
    return raisable(kind)(*arguments)


_E = TypeVar("_E", bound=BaseException)
_KNOWN_TO_ANYIO: dict[type[BaseException], type[BaseException]] = {}

_TRANSIENT = frozenset(
    {
        _errno.EAGAIN,
        _errno.ECONNABORTED,
        _errno.ECONNREFUSED,
        _errno.ECONNRESET,
        _errno.EHOSTUNREACH,
        _errno.EMFILE,
        _errno.ENETDOWN,
        _errno.ENETUNREACH,
        _errno.ENFILE,
        _errno.ENOBUFS,
        _errno.ETIMEDOUT,
    }
)

_REASONS = {
    _errno.EACCES: "not permitted: ports below 1024 need root or CAP_NET_BIND_SERVICE, paths a writable folder",
    _errno.EPERM: "not permitted: a firewall or a policy of this machine forbids it",
    _errno.EADDRINUSE: "already in use: see who holds it with `ss -lptn`, or take port 0 for a free one",
    _errno.EADDRNOTAVAIL: "no such address on this machine: write a local one, or * for every interface",
    _errno.ECONNREFUSED: "refused: nothing listens there",
    _errno.ECONNRESET: "reset by the peer",
    _errno.EPIPE: "closed by the peer",
    _errno.ETIMEDOUT: "no answer in time",
    _errno.EHOSTUNREACH: "no route to the host",
    _errno.ENETUNREACH: "no route to the network",
    _errno.EMFILE: "out of descriptors: raise the limit with `ulimit -n`, or close some",
    _errno.ENFILE: "the machine is out of descriptors: raise fs.file-max",
    _errno.ENOENT: "no such path",
    _errno.ENAMETOOLONG: "the path is too long: a Unix socket's takes 107 bytes at most",
    _errno.EPROTOTYPE: "another kind of socket is there: compare the schemes of both sides",
    _errno.EAFNOSUPPORT: "this machine has no such address family",
}

_REASONS_OF = {
    ("connect", _errno.EACCES): "not permitted: by the modes of the path, or by a rule of this machine",
    ("connect", _errno.EADDRNOTAVAIL): (
        "this machine has no address to call from, or no free port:"
        " see `ip address` and `sysctl net.ipv4.ip_local_port_range`"
    ),
    ("file", _errno.EACCES): "not permitted to this user, by its modes or its folder's",
}
