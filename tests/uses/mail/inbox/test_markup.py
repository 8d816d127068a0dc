"""The HTML of mails as it is served: what is put in, what is taken out, what is counted.

That a hostile mail does nothing is the sandbox's work: test_page.py has a browser try.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.mail.inbox import markup
from socketkit.uses.mail.inbox.markup import LEFT_OUT, STYLE, shown


def rewritten(html: str, *, remote: bool = False) -> str:
    found = shown(html, {"logo@x": "data:image/png;base64,AA=="}.get, remote=remote)
    assert found.html.endswith(STYLE)
    return found.html.removesuffix(STYLE)


@pytest.mark.parametrize(
    "html",
    [
        "<p>Hello <b>world</b> &amp; all &lt;tags&gt;</p>\n<table cellpadding=0><tr><td style='color: red'>x</table>",
        "<!doctype html><html><head><style>p { color: red }</style></head>",
        '<img src="data:image/png;base64,AA==" alt=x>',
        "<!-- a comment -->",
        "a < b > c & d",
        "<p\nclass=x\n>two\nlines</p>",
    ],
)
def test_what_does_no_harm_stays_as_it_was_sent(html: str) -> None:
    assert rewritten(html) == html
    assert shown(html, lambda name: None)[1:] == (0, 0)


@pytest.mark.parametrize(
    ("html", "becomes"),
    [
        ('<img src="cid:logo@x">', '<img src="data:image/png;base64,AA==">'),
        ('<img src="cid:logo%40x">', '<img src="data:image/png;base64,AA==">'),
        ('<img src="cid:other" alt="a&quot;b">', '<img data-blocked alt="a&quot;b">'),
        ('<td background="cid:logo@x">', '<td background="data:image/png;base64,AA==">'),
        (
            "<p style=\"background: url('cid:logo@x')\">",
            '<p style="background: url(&quot;data:image/png;base64,AA==&quot;)">',
        ),
        (
            '<a href="https://a.example/?a=1&amp;b=2" target=_top>x</a>',
            '<a href="https://a.example/?a=1&amp;b=2" target="_blank" rel="noopener noreferrer">x</a>',
        ),
        ('<a href="#below">x</a>', '<a href="#below">x</a>'),
        ('<a href="javascript:alert(1)">x</a>', "<a>x</a>"),
        ('<a href="java&#10;script:alert(1)">x</a>', "<a>x</a>"),
        ('<a href="data:text/html,x">x</a>', "<a>x</a>"),
        ('<a href="/api/mails">x</a>', "<a>x</a>"),
        ('<p onclick="x()">y', "<p>y"),
        ("a<script>alert('</p>')</script >b", "ab"),
        ("a<script>never closed", "a"),
        ('<iframe src="https://a.example"></iframe>', "</x-iframe>"),
        ('<meta http-equiv="refresh" content="0;url=https://a.example">x', "x"),
        ('<base href="https://a.example">x', "x"),
        ('<link rel=preconnect href="https://a.example">x', "x"),
        ("<!--><LINK rel=preconnect href=//a.example>-->", None),
        ("<!-- <link rel=preconnect> -->", "<!-- <x-link rel=preconnect> -->"),
        ("<p title='<script>'>", "<p title='<x-script>'>"),
        ('<form action="https://a.example"><input formaction=x>', "<form><input>"),
    ],
)
def test_rewritten(html: str, becomes: str | None) -> None:
    if becomes is None:
        assert "<link" not in rewritten(html).lower()
    else:
        assert rewritten(html) == becomes


REMOTE = """
<style>@import "https://a.example/1.css"; p { background: url(https://a.example/2.png) }</style>
<link rel=stylesheet href="//a.example/3.css">
<img src="https://a.example/4.png"> <img src="https://a.example/4.png"> <img srcset="http://a.example/5.png 2x">
<table background="HTTP://a.example/6.png"> <p style="background: url(&quot;//a.example/7.png&quot;)">
<video poster="https://a.example/8.png"></video> <svg><image xlink:href="https://a.example/9.png"/></svg>
"""


def test_what_is_elsewhere_is_counted_and_taken_out() -> None:
    found = shown(REMOTE, lambda name: None)
    assert found.remote == 9
    assert "a.example" not in found.html


def test_pictures_from_elsewhere_stay_where_they_are_wanted() -> None:
    html = shown(REMOTE, lambda name: None, remote=True).html
    assert sorted(set(re.findall(r"a\.example/(\d)", html))) == ["2", "4", "5", "6", "7", "8", "9"]
    assert "url(&quot;https://a.example/7.png&quot;)" in html


def test_what_is_active_is_counted() -> None:
    assert shown("<script>1</script><p onclick=x onload=y><form><object>", lambda name: None).active == 5


def test_a_long_mail_is_shown_as_it_is_from_there_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markup, "MOST_REWRITTEN", 40)
    html = "<p>" * 20 + "<img src=https://a.example/x><link rel=x>"
    found = shown(html, lambda name: None)
    assert "<img src=https://a.example/x><x-link rel=x>" in found.html
    assert found.remote == 0


@pytest.mark.parametrize(
    "piece", ["<!--", "<a ", "<a '", "<style>", "</", "<![CDATA[", "url(", 'url("', "<p style='url(", "&#"]
)
def test_nothing_takes_the_square_of_its_length(piece: str) -> None:
    shown(piece * (400_000 // len(piece)), lambda name: None)


PIECES = (
    *("<", ">", "script", "/", "<script", "<a href=", "'", '"', "<!--", "-->", "=", " ", "<style>", "link", "<svg>"),
    *("&lt;", "\n", "cid:logo@x", "url(", ")", "x"),
)


@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_nothing_of_these_names_is_ever_left(pieces: list[str]) -> None:
    assert not LEFT_OUT.search(rewritten("".join(pieces)))
