"""What is in a mail, for the API: everything at once, its HTML as a document, a part to be saved. No I/O.

Nothing of it can be trusted, so a part is never served as what would be shown in place: it is an attachment, under a
policy that would let it do nothing if it were.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from ....http.disposition import attachment
from ....http.exchange import Answer
from ..parsed import Parsed
from ..told import content_as_json
from .markup import POLICY, POLICY_WITH_PICTURES, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..database import Caught


def detail(mail: Caught, raw: bytes) -> dict[str, Any]:
    """What the API says of one mail beside what its list says."""
    parsed = Parsed(raw)
    found = shown(parsed.html, lambda name: None)
    return {**content_as_json(mail, parsed), "stopped": {"remote": found.remote, "active": found.active}}


def document(raw: bytes, *, remote: bool) -> Answer | None:
    """Its HTML under the policy of the sandbox; None if it has none."""
    parsed = Parsed(raw)
    if not parsed.html:
        return None
    found = shown(parsed.html, pictures(parsed), remote=remote)
    headers = (
        ("content-security-policy", POLICY_WITH_PICTURES if remote else POLICY),
        ("x-frame-options", "SAMEORIGIN"),  # of our own page
        ("x-dns-prefetch-control", "off"),  # a name that is looked up tells that the mail was opened
    )
    return Answer(200, "text/html; charset=utf-8", found.html.encode("utf-8", "replace"), headers)


def pictures(parsed: Parsed) -> Callable[[str], str | None]:
    """Gives the pictures of a mail by their Content-ID, as `data:` addresses.

    A document in a sandbox has no origin, so a browser would not send its cookie for a picture that it asks for.
    """
    named = {part.content_id: part for part in parsed.parts if part.content_id and part.type in PICTURES}
    left = MOST_PICTURE_BYTES

    def picture(name: str) -> str | None:
        nonlocal left
        found = named.get(name)
        if found is None or found.size > left:
            return None
        left -= found.size  # each time: a mail may name one picture a million times
        return f"data:{found.type};base64,{b64encode(parsed.content(found.number)).decode()}"

    return picture


def part(raw: bytes, number: int) -> Answer | None:
    """One part, to be saved; None if there is none of this number."""
    parsed = Parsed(raw)
    if number >= len(parsed.parts):
        return None
    found = parsed.parts[number]
    kind = found.type if KIND.fullmatch(found.type) else "application/octet-stream"
    return saved(kind, found.name or f"part-{number}", parsed.content(number))


def saved(kind: str, name: str, body: bytes) -> Answer:
    """What a browser saves, and does not show: what comes out of a mail is no page of ours."""
    quiet = ("content-security-policy", "sandbox; default-src 'none'; frame-ancestors 'none'")
    return Answer(200, kind, body, (("content-disposition", attachment(name)), quiet))


# Inside of an <img> none of them runs a script, SVG neither.
PICTURES = frozenset(f"image/{kind}" for kind in ("png", "jpeg", "gif", "webp", "avif", "bmp", "svg+xml", "x-icon"))
MOST_PICTURE_BYTES = 33_554_432
KIND = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
