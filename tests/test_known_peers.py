"""known_peers: what it says of a place, what a line that cannot be read does, and that no change is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socketkit import Endpoint, EndpointError, IdentityError
from socketkit.known_peers import (
    Known,
    KnownPeer,
    KnownPeers,
    add_command,
    place_of,
    read_place,
    replace_command,
)
from tests.keys import A, B, C, D


@pytest.fixture
def known(tmp_path: Path) -> KnownPeers:
    return KnownPeers(tmp_path / "known_peers")


def write(known: KnownPeers, *lines: str) -> None:
    Path(known.path).write_text("".join(f"{line}\n" for line in lines))
    os.chmod(known.path, 0o600)


def lines(known: KnownPeers) -> list[str]:
    return Path(known.path).read_text().splitlines()


NOBODY = Known((), frozenset())

# --- places


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("tls://Example.ORG:443", "example.org:443"),
        ("tls://example.org.:443", "example.org:443"),
        ("tls://:443", "localhost:443"),
        ("tls://192.0.2.1:443", "192.0.2.1:443"),
        ("tls://[2001:DB8::0:1]:443", "[2001:db8::1]:443"),
        ("tls://[fe80::1%25eth0]:443", "[fe80::1%25eth0]:443"),
        ("tls://*:443", "*:443"),
        (f"tls://h:443?pin={A}", "h:443"),
        ("tls+unix:///run/app.sock?mode=0660", "/run/app.sock"),
        ("tls+unix:///run/my%20app%25", "/run/my%20app%25"),
        ("tls+unix:///run/%FF", "/run/%FF"),
        ("tls+unix://@name", "unix:@name"),
    ],
)
def test_place_of_an_address(address: str, place: str) -> None:
    assert place_of(Endpoint.parse(address)) == place
    assert read_place(address) == read_place(place) == place


@pytest.mark.slow
@given(st.binary(min_size=1, max_size=100), st.booleans())
def test_any_path_is_one_word(name: bytes, abstract: bool) -> None:
    text = name.replace(b"\0", b"x").decode("utf-8", "surrogateescape")
    endpoint = Endpoint(scheme="tls+unix", path=f"@{text}" if abstract else f"/{text}")
    place = place_of(endpoint)
    assert place.split() == [place]
    assert read_place(place) == place
    assert not place.startswith(("@", "#"))


@pytest.mark.parametrize(
    "text", ["", "host", "host:", "host:99999", "a b:1", "127.1:80", "h:1?pin=x", "tls://h", "unix:x"]
)
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(EndpointError):
        read_place(text)


def test_commands_survive_a_shell() -> None:
    assert add_command("h:1", A) == f"socketkit trust add h:1 {A}"
    assert replace_command("[::1]:1", A) == f"socketkit trust replace '[::1]:1' {A}"


# --- finding


def test_own_file(home: Path) -> None:
    assert KnownPeers().path == str(home / "known_peers")
    assert KnownPeers().find("h:1") == NOBODY
    assert not home.exists()
    KnownPeers().add("h:1", A)
    assert (home / "known_peers").read_text() == f"h:1 {A}\n"


def test_find(known: KnownPeers) -> None:
    write(
        known,
        "# a comment",
        "",
        f"h:1 {A} Ann's machine",
        f"H:1   {B.upper()}",
        f"other:1 {C}",
        f"h:2 {D}",
        f"  [0:0::1]:7\t{A}",
        f"@revoked h:1 {C}",
        f"@revoked * {D}",
        f"@revoked other:1 {B}",
    )
    assert known.find("h:1") == Known((A, B), frozenset({C, D}))
    assert known.find("[::1]:7").pins == (A,)
    assert known.find("other:1") == Known((C,), frozenset({B, D}))
    assert known.find("h:2") == Known((), frozenset({D}))  # revoked everywhere
    assert known.find("nobody:1").pins == ()


def test_entries(known: KnownPeers) -> None:
    write(known, "# c", f"h:1 {A}  Ann's  ", f"@revoked * {B} stolen", "nonsense", f"H:2 {C.upper()}")
    assert known.entries() == (
        KnownPeer("h:1", A, "Ann's", False, 2),
        KnownPeer("*", B, "stolen", True, 3),
        KnownPeer("h:2", C, "", False, 5),
    )
    assert known.faults() == ("line 4: a place and a key belong on a line (HOST:PORT sk1:...)",)


@pytest.mark.parametrize(
    ("line", "stopped", "free"),
    [
        (f"h:1 {A[:-1]}", ["h:1"], ["h:2", "other:1"]),
        ("h:1", ["h:1"], ["other:1"]),
        (f"h 1 {A}", ["h:1", "h:2"], ["other.example:1"]),
        (f"H:99999 {A}", ["h:1"], ["other.example:1"]),
        ("h:1 sk2:newer", ["h:1"], ["other:1"]),
        ("/run/App.sock sk1:x", ["/run/App.sock"], ["other:1", "/run/other.sock"]),
        ("/run/App.sock", ["/run/App.sock"], ["other:1", "/run/other.sock"]),
        ("[::1]:7 sk1:x", ["[::1]:7"], ["[::2]:7", "h:1"]),
        # Whoever it was meant for is not to be trusted.
        (f"@revoked h:1 {A[:-1]}", ["h:1", "other:1", "/run/app.sock"], []),
        ("@revoked *", ["h:1", "other:1"], []),
        (f"@revokd * {A}", ["h:1", "other:1"], []),
        ("nonsense", [], ["h:1"]),
    ],
)
def test_line_that_cannot_be_read(known: KnownPeers, line: str, stopped: list[str], free: list[str]) -> None:
    write(known, f"# first\n{line}", f"h:1 {B}", f"other:1 {C}")
    for place in stopped:
        with pytest.raises(IdentityError, match=f"{known.path}, line 2: .*: repair the line or remove it"):
            known.find(place)
    for place in free:
        known.find(place)
    assert len(known.faults()) == 1
    known.add("third:1", D)  # it stays as it is
    assert lines(known)[1] == line


def test_file_that_others_can_write_to(known: KnownPeers) -> None:
    write(known, f"h:1 {A}")
    os.chmod(known.path, 0o666)
    with pytest.raises(IdentityError, match="chmod 600"):
        known.find("h:1")
    with pytest.raises(IdentityError, match="chmod 600"):
        known.add("h:2", A)


@pytest.mark.slow
def test_full_file_is_searched_quickly(known: KnownPeers) -> None:
    write(known, *(f"host{number}.example:443 {A}" for number in range(11_000)))
    begun = time.process_time()
    assert known.find("nas.example:443").pins == ()
    assert time.process_time() - begun < 2


# --- changing


def test_add(known: KnownPeers) -> None:
    known.add("H:1", A.upper(), "Ann's machine")
    known.add("h:1", A)  # known already
    assert lines(known) == [f"h:1 {A} Ann's machine"]
    with pytest.raises(IdentityError, match=f"another key is known for h:1: {A}: .*trust replace h:1 {B}"):
        known.add("h:1", B)
    known.add("h:1", B, also=True)
    known.add("h:1", A)
    assert known.find("h:1").pins == (A, B)


def test_add_behind_a_last_line_without_end(known: KnownPeers) -> None:
    Path(known.path).write_text(f"h:1 {A}")
    os.chmod(known.path, 0o600)
    known.add("h:2", B)
    assert lines(known) == [f"h:1 {A}", f"h:2 {B}"]


def test_replace(known: KnownPeers) -> None:
    write(known, "# kept", f"h:1 {A} old", f"h:2 {A}", f"h:1 {B}")
    known.replace("h:1", C, "new")
    assert lines(known) == ["# kept", f"h:2 {A}", f"h:1 {C} new"]
    known.replace("h:3", D)
    assert known.find("h:3").pins == (D,)


def test_remove(known: KnownPeers) -> None:
    write(known, f"h:1 {A}", f"h:1 {B}", f"h:2 {A}", f"@revoked h:1 {C}", "h:1 sk1:broken")
    assert known.remove("h:1", B) == 1
    assert known.remove("h:1", B) == 0
    assert known.remove("h:1") == 1
    assert lines(known) == [f"h:2 {A}", f"@revoked h:1 {C}", "h:1 sk1:broken"]


def test_revoke_everywhere(known: KnownPeers) -> None:
    write(known, f"h:1 {A}", f"h:2 {A}", f"h:2 {B}")
    known.revoke(A, comment="stolen")
    known.revoke(A)
    assert lines(known) == [f"h:2 {B}", f"@revoked * {A} stolen"]
    for change in (known.add, known.replace):
        with pytest.raises(IdentityError, match=f"is revoked by {known.path}, line 2"):
            change("h:1", A)
    assert known.find("h:1") == Known((), frozenset({A}))


def test_revoke_at_one_place(known: KnownPeers) -> None:
    write(known, f"h:1 {A}", f"h:2 {A}")
    known.revoke(A, "H:1")
    assert lines(known) == [f"h:2 {A}", f"@revoked h:1 {A}"]
    assert known.find("h:2").pins == (A,)
    with pytest.raises(IdentityError, match="is revoked"):
        known.add("h:1", A)


@pytest.mark.parametrize("call", ["add", "replace", "revoke"])
def test_comment_cannot_add_a_line(known: KnownPeers, call: str) -> None:
    words = (A, "h:1") if call == "revoke" else ("h:1", A)
    with pytest.raises(IdentityError, match="one line"):
        getattr(known, call)(*words, comment=f"x\nh:2 {A}")


def test_wrong_words(known: KnownPeers) -> None:
    with pytest.raises(IdentityError):
        known.add("h:1", "sk1:x")
    with pytest.raises(EndpointError):
        known.add("h", A)
    with pytest.raises(EndpointError):
        known.add("*", A)
    assert not Path(known.path).exists()
    assert repr(known) == f"KnownPeers({known.path!r})"


@pytest.mark.slow
def test_two_processes_adding_at_once_lose_nothing(known: KnownPeers) -> None:
    code = f"""
import sys
from socketkit.known_peers import KnownPeers
for number in range(30):
    KnownPeers(sys.argv[1]).add(f"{{sys.argv[2]}}{{number}}:1", "{A}")
"""
    adding = [subprocess.Popen([sys.executable, "-c", code, known.path, name]) for name in "ab"]
    assert [process.wait(20) for process in adding] == [0, 0]
    assert {entry.place for entry in known.entries()} == {f"{name}{number}:1" for name in "ab" for number in range(30)}


# --- round trips

hosts = st.sampled_from(["a.example:1", "b.example:2", "[2001:db8::1]:3", "/run/app.sock", "unix:@name"])
keys = st.sampled_from([A, B, C, D])
comments = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="\x7f"), max_size=20)


@pytest.mark.slow
@given(st.lists(st.tuples(st.booleans(), hosts, keys, comments), max_size=20))
@settings(max_examples=50, deadline=None)  # each example writes files
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, str, str, str]]
) -> None:
    known = KnownPeers(tmp_path_factory.mktemp("known") / "file")
    pins: dict[str, list[str]] = {}
    revoked: dict[str, set[str]] = {}
    for adds, place, key, comment in steps:
        if adds and key in revoked.get(place, ()):
            with pytest.raises(IdentityError):
                known.add(place, key, comment, also=True)
        elif adds:
            known.add(place, key, comment, also=True)
            pins.setdefault(place, []).append(key)
        else:
            known.revoke(key, place, comment)
            revoked.setdefault(place, set()).add(key)
            pins[place] = [pin for pin in pins.get(place, ()) if pin != key]
    for place in {place for _, place, _, _ in steps}:
        expected = tuple(dict.fromkeys(pins.get(place, ())))
        assert known.find(place) == Known(expected, frozenset(revoked.get(place, ())))
    assert known.faults() == ()


@pytest.mark.slow
@given(st.text(st.characters(exclude_categories=["Cs"])))
@settings(max_examples=50, deadline=None)  # each example writes files
def test_any_file_is_read_and_kept(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    known = KnownPeers(tmp_path_factory.mktemp("known") / "file")
    Path(known.path).write_bytes(text.encode())
    os.chmod(known.path, 0o600)
    known.entries(), known.faults()
    known.add("h:1", A)
    end = "" if not text or text.endswith("\n") else "\n"
    assert Path(known.path).read_bytes() == f"{text}{end}h:1 {A}\n".encode()
