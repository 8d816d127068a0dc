"""The language that says which sockets are wanted."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit import Endpoint
from socketkit.errors import SelectionError
from socketkit.inspect.selection import FIELDS, FLAGS, STATES, Selection

HERE, THERE = "tcp://192.0.2.1:443", "tcp://198.51.100.7:51000"


def process(**changes: Any) -> Any:
    fields = {"pid": 812, "name": "nginx", "executable": "/usr/sbin/nginx", "unit": "nginx.service", "container": None}
    return SimpleNamespace(**fields | changes)


def row(local: str | None = HERE, peer: str | None = THERE, **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "scheme": "tcp",
        "local": None if local is None else Endpoint.parse(local),
        "peer": None if peer is None else Endpoint.parse(peer),
        "state": "established",
        "inode": 77,
        "namespace_name": "",
        "uid": 33,
        "user": "www-data",
        "processes": (process(),),
        "receive_queue": 0,
        "send_queue": 2_000,
        "received_bytes": 12_000_000,
        "sent_bytes": 500,
        "retransmits": 3,
        "round_trip_ms": 21.5,
        "quiet_seconds": 4.0,
        "oldest_seconds": 7_200.0,
        "dropped": None,
        "interface": None,
        "exposure": "network",
    }
    return SimpleNamespace(**fields | changes)


WEB: Any = SimpleNamespace(name="web", protocol="TLS 1.3 h2", encrypted="yes")


def matches(text: str, entry: Any = None) -> bool:
    return Selection(text).matches(entry if entry is not None else row(), WEB)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "state=established",
        "established tcp",
        "scheme=tcp,udp",
        "port=443",
        "port=51000",
        "local-port=443",
        "peer-port>1024",
        "port=80,443",
        "host=192.0.2.1",
        "peer=198.51.100.0/24",
        "local=tcp://192.0.2.1:443",
        "local=192.0.2.*",
        "peer~51000",
        "name=nginx",
        "name=NGINX",
        "name=ng*",
        "name=*in*",
        'name="nginx"',
        "pid=812",
        "exe~sbin",
        "unit=nginx.service",
        "user=www-data uid=33",
        "use=web protocol=TLS*",
        "encrypted",
        "received>10M",
        "received>=12M received<=12M",
        "sent<1k",
        "queue>=2k",
        "rtt>20",
        "rtt>=21ms rtt<0.5s",
        "retransmits>2",
        "quiet<5s",
        "age>1h age<3h",
        "!loopback",
        "exposed network",
        "ipv4 !ipv6",
        "!pid=1",
        "name!=ssh",
        "~www",
        "~51000",
        "port=22 or port=443",
        "port=22 or state=listening or established and tcp",
        "!!established",
    ],
)
def test_holds(text: str) -> None:
    assert matches(text)
    if text and " " not in text:
        assert not matches(f"!{text}")


@pytest.mark.parametrize(
    "text",
    [
        "state=listening",
        "listening",
        "udp",
        "port=80",
        "local-port=51000",
        "peer=10.0.0.0/8",
        "peer=2001:db8::/32",
        "name=ngin",
        "name=*z",
        "pid=81",
        "container=*",
        "dropped<5",
        "interface=*",
        "plain",
        "orphan",
        "loopback",
        "!established",
        "tcp port=80",
        "port=80 or udp",
        "~nowhere",
        "user!=www-data",
    ],
)
def test_does_not_hold(text: str) -> None:
    assert not matches(text)


def test_what_is_not_known_is_no_value() -> None:
    unknown = row(processes=None, user=None, uid=None)
    assert not matches("pid=812", unknown)
    assert matches("!pid=812", unknown)
    assert not matches("orphan", unknown)
    assert matches("orphan", row(processes=()))


def test_families_of_a_wildcard() -> None:
    assert matches("ipv4 ipv6", row("tcp://*:80", None))
    assert matches("ipv4 !ipv6", row("tcp4://*:80", None))
    assert matches("ipv6 !ipv4", row("tcp6://*:80", None))
    assert matches("ipv6 host=[2001:db8::1] host=2001:db8::/64", row("tcp://[2001:db8::1]:80", None))
    assert not matches("ipv4 or ipv6", row("unix:///run/a.sock", None))


def test_paths() -> None:
    unix = row("unix:///run/app.sock", None, scheme="unix")
    assert matches("local=/run/* scheme=unix unix", unix)
    assert not matches("local=/tmp/*", unix)
    assert not matches("peer=/run/*", unix)


def test_the_use_is_found_out_when_it_is_asked_for_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from socketkit.inspect import uses

    asked: list[Any] = []

    def use_of(entry: Any) -> Any:
        asked.append(entry)
        return WEB

    monkeypatch.setattr(uses, "use_of", use_of)
    entry = row()
    assert Selection("port=443").matches(entry)
    assert not asked
    assert Selection("use=web encrypted").matches(entry)
    assert asked == [entry]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stat=listening", "there is no stat (did you mean state?)\n  stat=listening\n  ^"),
        ("state=listenin", "no state is called listenin (did you mean listening?)\n  state=listenin\n        ^"),
        ("port=http", "http is no number (port is either port)\n  port=http\n       ^"),
        ("port=80,x", "x is no number (port is either port)\n  port=80,x\n          ^"),
        ("postgres", "postgres is no word of this language (name=postgres for a process, ~postgres for what has it"),
        ("listenin", "did you mean listening? Or name=listenin"),
        ("port", "port is no word of this language (port=..., either port)"),
        ("name>x", "text has no order, so > says nothing of it"),
        ("pid~1", "a number holds no text"),
        ("received>10X", "10X is no number of bytes (a number, and one of k, M, G, T behind it)"),
        ("age>5y", "5y is no time"),
        ("peer=10.0.0.0/99", "10.0.0.0/99 is no network"),
        ("peer>10.0.0.0", "addresses have no order"),
        ("name=", "the value is missing"),
        ("=5", "the name is missing"),
        ("port:5", "an operator stands here (one of != <= >= = < > ~)\n  port:5\n      ^"),
        ('name="x', 'the quotation mark is not closed (write a second ")\n  name="x\n       ^'),
        ("!", "nothing stands behind this !"),
        ("~", "nothing stands behind this ~"),
        ("or tcp", "nothing stands before this `or`"),
        ("tcp or", "nothing stands behind this `or`"),
    ],
)
def test_what_is_wrong_is_pointed_at(text: str, message: str) -> None:
    with pytest.raises(SelectionError) as raised:
        Selection(text)
    assert message in str(raised.value)


@given(st.text(max_size=60))
def test_any_text_is_a_selection_or_a_clear_error(text: str) -> None:
    try:
        matches(text)
    except SelectionError as failure:
        assert str(failure)


def test_errors_travel_between_processes() -> None:
    with pytest.raises(SelectionError) as raised:
        Selection("port=x")
    again = pickle.loads(pickle.dumps(raised.value))
    assert (str(again), again.at) == (str(raised.value), 5)


def test_value() -> None:
    assert Selection(" port=443 ") == Selection("port=443") != Selection("port=80")
    assert hash(Selection("tcp")) == hash(Selection("tcp "))
    assert (str(Selection(" tcp")), repr(Selection("tcp")), bool(Selection(""))) == ("tcp", "Selection('tcp')", False)


def test_no_word_has_two_meanings() -> None:
    words = [*FLAGS, *STATES]
    assert len(set(words)) == len(words)
    assert not set(words) & set(FIELDS)
