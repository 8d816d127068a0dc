"""Mails that were written to keep their reader busy: unbounded, each of them is read for minutes, or for hours."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from socketkit.uses.mail.bounded import (
    MOST_CONTAINERS,
    MOST_CONTENT_LETTERS,
    MOST_HEAD,
    MOST_LOOKS,
    MOST_PARAMETERS,
    cut_head,
    has_too_many_parts,
    read_html,
)
from socketkit.uses.mail.database import Caught
from socketkit.uses.mail.headers import summary
from socketkit.uses.mail.imap_fetch import envelope, structure
from socketkit.uses.mail.inbox.content import detail, document
from socketkit.uses.mail.mime import Entity
from socketkit.uses.mail.parsed import Parsed, without_tags


def nested(count: int) -> bytes:
    return b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (number, number) for number in range(count)
    )


HTML = b"Content-Type: text/html\r\n\r\n"
BOMBS = {
    "parameters": b"Content-Type: text/plain" + b";a=b" * 500_000,
    "quotes": b'Content-Type: text/plain; a="' + b'\\";' * 600_000,
    "a name in pieces": b"Content-Disposition: attachment" + b";filename*0=a" * 150_000,
    "nested": nested(5_000),
    "nested, and lines": nested(MOST_CONTAINERS) + b"\r\n" * 500_000,
    "comments": b"To: " + b"(" * 100_000 + b"a@b.example\r\n\r\n",
    "headers": b"a: b\r\n" * 500_000,
    "one header": b"Subject: " + b"=?utf-8?q?a?= " * 200_000,
    "folded": b"To: a" + b"\r\n a@b.example," * 200_000,
    "tags": HTML + b"<a " * 700_000,
    "comment of HTML": HTML + b"<!--" * 500_000,
    "declaration": HTML + b"<![a" * 100_000,
    "quotes in a tag": HTML + b"<a href='" * 200_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("raw", BOMBS.values(), ids=BOMBS.keys())
def test_bombs(raw: bytes) -> None:
    mail = Caught(1, 1.0, "a@b.example", ("c@d.example",), len(raw), summary(raw), {}, frozenset())
    assert json.dumps(detail(mail, raw))
    document(raw, remote=False)
    parsed = Parsed(raw)
    assert isinstance(parsed.readable, str)
    assert len(parsed.parts) <= 1_000
    entity = Entity(raw)
    assert envelope(entity)
    assert structure(entity, extended=True)


def test_head_passed_by_one() -> None:
    line = b"a: b\r\n"
    count = (MOST_HEAD - 8) // len(line)
    fits = b"Subject: first\r\n" + line * (count - 5) + b"\r\nbody"
    assert cut_head(fits) == fits
    cut = cut_head(b"Subject: first\r\n" + line * (count + 5) + b"\r\nbody")
    assert len(cut) <= MOST_HEAD + 8
    assert cut.endswith(b"a: b\r\n\r\nbody")
    assert Parsed(cut).header("Subject") == "first"
    assert cut_head(b"x" * (MOST_HEAD + 1)) == b"x" * MOST_HEAD + b"\r\n\r\n"
    for short in (b"", b"\r\n" * MOST_HEAD, b"a: b"):
        assert cut_head(short) == short


def test_containers_passed_by_one() -> None:
    fits, over = nested(MOST_CONTAINERS), nested(MOST_CONTAINERS + 1)
    assert not has_too_many_parts(fits)
    assert has_too_many_parts(over)
    lines = (MOST_LOOKS - fits.count(b"\n") * MOST_CONTAINERS) // MOST_CONTAINERS
    assert not has_too_many_parts(fits + b"\r\n" * lines)
    assert has_too_many_parts(fits + b"\r\n" * (lines + 1))
    assert len(Parsed(b"Subject: x\r\n" + over).parts) == 1
    assert Parsed(b"Subject: x\r\n" + over).header("X-Too-Deep") == "yes"


def test_parameters_passed_by_one() -> None:
    names = [f"p{number}=v" for number in range(MOST_PARAMETERS - 1)]
    fits = f"Content-Type: text/plain; {'; '.join(names)}\r\n\r\n".encode()
    over = f"Content-Type: text/plain; {'; '.join([*names, 'more=v'])}\r\n\r\n".encode()
    assert len(Parsed(fits).message.get_params() or ()) == MOST_PARAMETERS
    assert Parsed(over).message.get_param("more") is None
    long = f"Content-Type: text/plain; name={'x' * MOST_CONTENT_LETTERS}\r\n\r\n".encode()
    assert len(Parsed(long).parts[0].name) < MOST_CONTENT_LETTERS
    assert Parsed(long).text == ""


def test_html_in_pieces_is_the_same() -> None:
    html = "<p>one &amp; two</p><b>three" * 2_000 + " &lt; four"
    assert without_tags(html) == " ".join(["one & two three"] * 2_000 + ["< four"])

    class Tags(HTMLParser):
        count = 0

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.count += 1

    tags = Tags()
    read_html(tags, html)
    assert tags.count == 4_000
