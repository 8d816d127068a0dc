from __future__ import annotations

import json

import pytest

from socketkit import Endpoint
from socketkit.connection import Peer
from socketkit.http import Access
from socketkit.uses.web.access_log import as_json, as_text, without_token


def access(target: str, status: int = 200) -> Access:
    peer = Peer(Endpoint.parse("tcp://192.0.2.1:5000"), None, None)
    return Access(peer, "GET", target, status, 14_203, 0.0042, "2")


def test_a_line_of_text() -> None:
    line = as_text(access("/~secret/a.png?x=1"), clock=lambda: 0.0)
    assert line == '1970-01-01T00:00:00Z 192.0.2.1 "GET /~.../a.png?x=1" 200 14,203 B 0.004 s HTTP/2'


def test_a_line_of_json() -> None:
    told = json.loads(json.dumps(as_json(access("/~secret/"), clock=lambda: 5.0)))
    assert told["target"] == "/~.../"
    assert (told["peer"], told["status"], told["sent_bytes"]) == ("tcp://192.0.2.1:5000", 200, 14_203)


def test_no_answer_and_no_request() -> None:
    assert '" - ' in as_text(access("/", 0))
    assert '"-" 400' in as_text(access("", 400)._replace(method=""))


@pytest.mark.parametrize("target", ["/~secret", "/%7Esecret/x", "/%7e%73ecret", "/~secret%2Fx", "/~secret?zip"])
def test_tokens_are_taken_out_however_they_are_written(target: str) -> None:
    assert "ecret" not in without_token(target)


def test_other_targets_stay() -> None:
    assert without_token("/a/~b?c=/~d") == "/a/~b?c=/~d"


def test_nothing_in_a_line_ends_it() -> None:
    line = as_text(access('/a"\x1b[2J\n\udcff'))
    assert line.isprintable()
    assert line.count('"') == 2
