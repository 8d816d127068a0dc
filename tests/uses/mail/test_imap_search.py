"""What SEARCH finds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.mail.imap_search import DEEPEST, Candidate, parse
from socketkit.uses.mail.imap_syntax import SyntaxFault
from socketkit.uses.mail.imap_syntax import parse as command
from socketkit.uses.mail.parsed import Parsed
from tests.uses.mail.boxes import SECOND, Box, whole


def found(words: str) -> list[int]:
    box = Box(whole(), SECOND)
    box.mails[2] = box.mails[2]._replace(flags=frozenset({"\\Seen"}))
    search = parse(command(f"a SEARCH {words}".encode()).arguments, [1, 2], [1, 2])
    return [
        number for number, mail in box.mails.items() if search.test(Candidate(number, mail, Parsed(box.raws[number])))
    ]


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("ALL", [1, 2]),
        ("SEEN", [2]),
        ("UNSEEN", [1]),
        ("NOT SEEN", [1]),
        ("OR SEEN SUBJECT Gr", [1, 2]),
        ("(SEEN) (ALL)", [2]),
        ("2:*", [2]),
        ("UID 1", [1]),
        ("FROM ann", [1]),
        ("TO bob SUBJECT größe", [1]),
        ('CHARSET UTF-8 SUBJECT "GRÖ"', [1]),
        ("BODY hello", [1]),
        ("TEXT eve", [2]),
        ('HEADER Message-ID ""', [1]),
        ("LARGER 100", [1]),
        ("SMALLER 100", [2]),
        ("ON 2-Jan-2026", [1, 2]),
        ("BEFORE 2-Jan-2026", []),
        ("SINCE 3-Jan-2026", []),
        ("SENTON 2-Nov-2026", [1]),
        ("SENTSINCE 1-Nov-2026", [1]),
        ("NEW", []),
        ("KEYWORD x", []),
        ("UNKEYWORD x", [1, 2]),
    ],
)
def test_search(words: str, numbers: list[int]) -> None:
    assert found(words.replace("größe", '"größe"')) == numbers


@pytest.mark.parametrize(
    "words", ["", "WHAT", "NOT", "OR ALL", "LARGER x", "ON soon", "CHARSET KLINGON ALL", '"x"', "FROM", "UID x", "()"]
)
def test_faults(words: str) -> None:
    with pytest.raises(SyntaxFault):
        found(words)


def test_keys_within_keys_have_a_bound() -> None:
    assert found("NOT " * DEEPEST + "ALL") == [1, 2]
    assert found("OR SEEN " * DEEPEST + "ALL") == [1, 2]
    for words in (
        "NOT " * (DEEPEST + 1) + "ALL",
        "OR " * 5_000 + "ALL " * 5_001,
        "(NOT " * 9 + "NOT " * DEEPEST + "ALL" + ")" * 9,
    ):
        with pytest.raises(SyntaxFault, match="deep"):
            found(words)


WORDS = ["ALL", "NOT", "OR", "(", ")", "SEEN", "UID", "1:*", "FROM", '"x"', "SINCE", "31-Feb-2026", "HEADER", "LARGER"]


@given(st.lists(st.sampled_from([*WORDS, "SENTBEFORE", "1-Jan-0001", "KEYWORD", "9", "CHARSET", "UTF-8"]), max_size=12))
def test_nothing_else_is_raised(words: list[str]) -> None:
    try:
        both = found(" ".join(words))
    except SyntaxFault:
        return
    without = found("NOT (" + " ".join(words) + ")") if "CHARSET" not in words else None
    assert without is None or sorted(both + without) == [1, 2]


def test_a_date_that_no_calendar_has_is_none() -> None:
    raw = f"Date: Mon, 01 Jan {'9' * 20} 00:00:00 +0000\r\n\r\n".encode()
    for words, found in (("SENTSINCE", False), ("NOT SENTSINCE", True)):
        search = parse(command(f"a SEARCH {words} 1-Jan-2026".encode()).arguments, [1], [1])
        assert search.test(Candidate(1, Box(raw).mails[1], Parsed(raw))) is found


def test_content_is_read_only_if_needed() -> None:
    assert not parse(command(b"a SEARCH UNSEEN LARGER 5").arguments, [1], [1]).reads_content
    assert parse(command(b"a SEARCH (SENTON 2-Nov-2026)").arguments, [1], [1]).reads_content
