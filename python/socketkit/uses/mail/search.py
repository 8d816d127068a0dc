"""What a person types to find mail, as a query of FTS5: `invoice from:ann "two words" is:unseen`.

Every word must be there, as the beginning of one; `from:`, `to:`, `subject:` and `text:` say where.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ...errors import FaultyText


class SearchError(FaultyText):
    """The text does not say which mail is wanted."""


class Wanted(NamedTuple):
    match: str
    """For FTS5; "" for every mail."""
    seen: bool | None


def parse(text: str) -> Wanted:
    """Raises SearchError."""
    if len(text) > MOST_CHARACTERS:
        raise SearchError(f"at most {MOST_CHARACTERS:,} characters", "", 0)
    terms: list[str] = []
    seen = None
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = TERM.match(text, at)
        if match is None:
            raise SearchError("the closing quote is missing", text, at)
        field, quoted, plain = match[1], match[2], match[3]
        word = quoted if quoted is not None else plain
        if field == "is":
            if word not in ("seen", "unseen"):
                raise SearchError(f"there is no is:{word}", text, match.start(3), "is:seen, is:unseen")
            seen = word == "seen"
        else:
            terms.append(_term(FIELDS.get(field or "", ""), word, whole=quoted is not None))
        at = match.end()
    return Wanted(" AND ".join(filter(None, terms)), seen)


def _term(column: str, word: str, *, whole: bool) -> str:
    """A word of punctuation alone is in no index, and would find nothing."""
    if not any(char.isalnum() for char in word):
        return ""
    string = '"{}"'.format(word.replace('"', '""').replace("\0", " "))
    return f"{column} : {string}{'' if whole else '*'}" if column else f"{string}{'' if whole else '*'}"


MOST_CHARACTERS = 1_000
FIELDS = {"from": "author", "to": "receiver", "subject": "subject", "text": "body"}
TERM = re.compile(r'(?:(from|to|subject|text|is):)?(?:"([^"]*)"|((?!")\S+))')
