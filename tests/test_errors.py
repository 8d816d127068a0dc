"""What errors say, whether trying again may help, and who can catch them."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

import socketkit.errors
from socketkit.endpoint import Endpoint
from socketkit.errors import (
    BrokenConnection,
    BusyConnection,
    ClosedConnection,
    ConnectError,
    EndOfStream,
    EndpointError,
    IdentityError,
    ListenError,
    PeerViolation,
    SocketError,
    Unsupported,
    UntrustedPeer,
    explain,
    explained,
    from_errno,
    raisable,
)

WHERE = Endpoint.parse("tcp://192.0.2.1:80")


def test_text_names_the_operation_the_endpoint_and_the_reason() -> None:
    error = SocketError("connect", WHERE, "refused", errno.ECONNREFUSED)
    assert str(error) == "connect tcp://192.0.2.1:80: refused"
    assert (error.operation, error.endpoint, error.reason, error.errno) == ("connect", WHERE, "refused", 111)
    assert error.strerror == "refused"


@pytest.mark.parametrize(
    ("operation", "number", "words"),
    [
        ("listen", errno.EACCES, "ports below 1024"),
        ("connect", errno.EACCES, "by the modes of the path"),
        ("file", errno.EACCES, "its folder's"),
        ("bind", errno.EADDRNOTAVAIL, "write a local one"),
        ("connect", errno.EADDRNOTAVAIL, "no address to call from, or no free port"),
        ("connect", errno.ECONNREFUSED, "nothing listens there"),
        ("connect", errno.EDOM, "numerical argument out of domain"),
    ],
)
def test_reason_is_that_of_the_operation(operation: str, number: int, words: str) -> None:
    assert words in from_errno(SocketError, operation, WHERE, number).reason


def test_text_without_endpoint() -> None:
    assert str(SocketError("receive", None, "reset by the peer")) == "receive: reset by the peer"


@pytest.mark.parametrize("kind", [ConnectError, ListenError, BrokenConnection, Unsupported, UntrustedPeer])
def test_socket_errors_are_os_errors_of_their_own_kind(kind: type[SocketError]) -> None:
    # OSError itself turns into ConnectionRefusedError and the like by its number; these must not.
    error = kind("connect", WHERE, "refused", errno.ECONNREFUSED)
    assert type(error) is kind
    assert isinstance(error, SocketError)
    assert isinstance(error, OSError)


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EMFILE, errno.ENETUNREACH, errno.EAGAIN])
def test_transient(number: int) -> None:
    assert SocketError("connect", WHERE, "x", number).transient is True


@pytest.mark.parametrize("number", [None, errno.EACCES, errno.EADDRINUSE, errno.ENOENT, errno.EINVAL])
def test_not_transient(number: int | None) -> None:
    assert SocketError("connect", WHERE, "x", number).transient is False


def test_connect_error_carries_every_attempt() -> None:
    attempt = SocketError("connect", WHERE, "refused", errno.ECONNREFUSED)
    error = ConnectError("connect", WHERE, "refused", errno.ECONNREFUSED, attempts=(attempt,))
    assert error.attempts == (attempt,)
    assert ConnectError("connect", WHERE, "refused").attempts == ()


def test_untrusted_peer_says_who_it_was() -> None:
    error = UntrustedPeer("connect", WHERE, "changed", presented="sk1:b", expected=("sk1:a",))
    assert isinstance(error, ConnectError)
    assert (error.presented, error.expected, error.transient) == ("sk1:b", ("sk1:a",), False)
    assert UntrustedPeer("connect", WHERE, "no key").presented is None


def test_explain_names_the_remedy() -> None:
    assert "CAP_NET_BIND_SERVICE" in explain(errno.EACCES)
    assert "port 0" in explain(errno.EADDRINUSE)
    assert "ulimit -n" in explain(errno.EMFILE)
    assert explain(errno.EINVAL) == os.strerror(errno.EINVAL).lower()


def test_from_errno() -> None:
    error = from_errno(ListenError, "listen", WHERE, errno.EADDRINUSE)
    assert isinstance(error, ListenError)
    assert error.errno == errno.EADDRINUSE
    assert str(error) == f"listen tcp://192.0.2.1:80: {explain(errno.EADDRINUSE)}"


def test_endpoint_error_points_at_the_fault() -> None:
    error = EndpointError("bad", "tcp://x", 6, "write y")
    assert str(error) == "bad (write y)\n  tcp://x\n        ^"
    assert str(EndpointError("bad", "tcp://x", 0)) == "bad\n  tcp://x\n  ^"
    assert str(EndpointError("the address is empty", "", 0, "write one")) == "the address is empty (write one)"
    assert isinstance(error, ValueError)


def test_endpoint_error_lets_no_control_character_reach_the_terminal() -> None:
    lines = str(EndpointError("bad", "a\n\x1b[2Jb", 6)).splitlines()
    assert lines == ["bad", "  a\ufffd\ufffd[2Jb", "        ^"]


@pytest.mark.parametrize("at", [0, 50, 5000, 9999, 10000])
def test_endpoint_error_shows_a_long_text_around_the_fault(at: int) -> None:
    text = "".join(chr(97 + index % 26) for index in range(10000))
    _, line, caret = str(EndpointError("bad", text, at)).splitlines()
    assert len(line) < 160
    assert line[caret.index("^") :].strip("…")[:5] == text[at : at + 5]
    assert line.startswith("  …") == (at > 100)
    assert line.endswith("…") == (at < 9900)


ERRORS = [
    SocketError("connect", WHERE, "refused", errno.ECONNREFUSED),
    ConnectError("connect", WHERE, "refused", 111, attempts=(SocketError("connect", WHERE, "refused", 111),)),
    ListenError("listen", None, "in use"),
    Unsupported("bind", WHERE, "reserved"),
    UntrustedPeer("connect", WHERE, "changed", presented="sk1:b", expected=("sk1:a",)),
    EndpointError("bad", "tcp://x", 6, "write y"),
    IdentityError("key.pem holds no key"),
    EndOfStream("the end"),
    PeerViolation("too long"),
    raisable(BrokenConnection)("receive", WHERE, "reset by the peer", errno.ECONNRESET),
    raisable(EndOfStream)("the end"),
    raisable(ClosedConnection)("closed before"),
    raisable(BusyConnection)("another task receives"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_pickle_and_copy_keep_everything(error: BaseException) -> None:
    error.add_note("while testing")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.args == error.args
        assert repr(vars(again)) == repr(vars(error))
        assert again.__notes__ == ["while testing"]
    del error.__notes__


@pytest.mark.parametrize(
    ("kind", "counterpart"),
    [
        (EndOfStream, anyio.EndOfStream),
        (ClosedConnection, anyio.ClosedResourceError),
        (BrokenConnection, anyio.BrokenResourceError),
        (BusyConnection, anyio.BusyResourceError),
    ],
)
def test_raisable_is_caught_by_those_who_know_anyio_only(
    kind: type[BaseException], counterpart: type[BaseException]
) -> None:
    raised = raisable(kind)
    assert issubclass(raised, kind)
    assert issubclass(raised, counterpart)
    assert raisable(kind) is raised
    assert (raised.__name__, raised.__module__, raised.__doc__) == (kind.__name__, "socketkit.errors", kind.__doc__)
    arguments = ("receive", WHERE, "reset by the peer") if issubclass(kind, SocketError) else ("said so",)
    with pytest.raises(counterpart) as caught:
        raise raised(*arguments)
    assert str(caught.value) == ("receive tcp://192.0.2.1:80: reset by the peer" if len(arguments) == 3 else "said so")


@pytest.mark.parametrize("kind", [ConnectError, ListenError, Unsupported, PeerViolation])
def test_raisable_leaves_alone_what_anyio_has_no_word_for(kind: type[BaseException]) -> None:
    assert raisable(kind) is kind


def test_raisable_without_anyio_and_after_its_import() -> None:
    program = """
import pickle, sys
from socketkit.errors import ClosedConnection, EndOfStream, raisable
assert "anyio" not in sys.modules
assert raisable(EndOfStream) is EndOfStream
assert "anyio" not in sys.modules
sent = sys.stdin.buffer.read()
plain = pickle.loads(sent)
assert type(plain) is ClosedConnection and str(plain) == "sent from afar"
import anyio
assert issubclass(raisable(EndOfStream), anyio.EndOfStream)
assert isinstance(pickle.loads(sent), anyio.ClosedResourceError)
print("passed")
"""
    folder = str(Path(socketkit.errors.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps(raisable(ClosedConnection)("sent from afar")),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": folder},
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == (b"passed\n", b"")


@pytest.mark.parametrize("module", ["connection.py", "exposure.py", "trusting.py", "types/unix.py"])
def test_errors_name_pages_that_exist(module: str) -> None:
    """A note, which a traceback shows: the words of the error stay one sentence with its remedy."""
    root = Path(__file__).parents[1]
    source = (root / "python" / "socketkit" / module).read_text()
    pages = set(re.findall(r'"(open-ports|unencrypted|hijacking|man-in-the-middle|denial-of-service)"', source))
    assert pages
    assert all((root / "docs" / "threats" / f"{page}.md").is_file() for page in pages)
    assert explained(SocketError("connect", None, "why"), pages.pop()).__notes__[0].startswith("see docs/threats/")
