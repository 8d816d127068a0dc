"""The HTML of a mail, made fit to be shown: pictures of the mail itself put in, everything from elsewhere taken out.

What keeps a hostile mail from doing anything is not here: it is the sandbox and the policy that the document is served
with (`POLICY`, `POLICY_WITH_PICTURES`), under which no script runs and nothing is loaded. This makes the mail look as
it should under them, counts what they stop, and takes out what no policy stops (`<link rel=preconnect>`).
"""

from __future__ import annotations

import re
from html import escape
from html.parser import HTMLParser
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from ..bounded import read_html

if TYPE_CHECKING:
    from collections.abc import Callable

    Attributes = list[tuple[str, str | None]]


class Shown(NamedTuple):
    """A document to serve, and what was found in the mail."""

    html: str
    remote: int
    """Addresses elsewhere that it would load something from."""
    active: int
    """Scripts, event handlers, forms and frames, of which none does anything."""


def shown(html: str, picture: Callable[[str], str | None], *, remote: bool = False) -> Shown:
    """`picture(id)` is the `data:` address of what the mail calls `cid:id`. `remote`: pictures from elsewhere stay."""
    source = html[:MOST_REWRITTEN]
    rewriter = _Rewriter(source, picture, remote=remote)
    read_html(rewriter, source)
    text = rewriter.text() + html[MOST_REWRITTEN:]
    # Whatever a browser may see where the parser saw nothing: without these names it is an element that does nothing.
    text = LEFT_OUT.sub(r"<\1x-\2", text)
    return Shown(text + STYLE, len(rewriter.elsewhere), rewriter.active)


class _Rewriter(HTMLParser):
    """Notes which pieces of the text are to be replaced; all else stays as it was sent, letter by letter."""

    def __init__(self, source: str, picture: Callable[[str], str | None], *, remote: bool) -> None:
        super().__init__()
        self.elsewhere: set[str] = set()
        self.active = 0
        self._source = source
        self._picture = picture
        self._remote = remote
        self._replaced: list[tuple[int, int, str]] = []
        self._lines = [0, *(found.end() for found in re.finditer("\n", source))]
        self._within: tuple[str, int] | None = None  # a script or a style, and where it begins

    def text(self) -> str:
        """The whole, with all that is replaced."""
        if self._within is not None and self._within[0] == "script":
            self._replace(self._within[1], len(self._source), "")
        pieces, at = [], 0
        for start, end, text in self._replaced:
            pieces += [self._source[at:start], text]
            at = end
        return "".join([*pieces, self._source[at:]])

    def handle_starttag(self, tag: str, attributes: Attributes) -> None:
        start = self._at()
        end = start + len(self.get_starttag_text() or "")
        self.active += tag in ACTIVE
        if tag == "script":
            self._within = (tag, start)
        elif tag in GONE:
            self._count_loaded(tag, attributes)
            self._replace(start, end, "")
        else:
            self._within = (tag, end) if tag == "style" else None
            changed = self._attributes(tag, attributes)
            if changed != attributes:
                self._replace(start, end, _written(tag, changed))

    def handle_startendtag(self, tag: str, attributes: Attributes) -> None:
        # To a browser `<div/>` and `<script/>` are open.
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        if self._within is None or tag != self._within[0]:
            return
        start, end = self._within[1], self._at()
        self._within = None
        if tag == "script":
            closed = self._source.find(">", end)
            self._replace(start, closed + 1 if closed >= 0 else len(self._source), "")
        else:
            self._replace(start, end, self._css(self._source[start:end]))

    def _attributes(self, tag: str, attributes: Attributes) -> Attributes:
        kept: Attributes = []
        links = tag in ("a", "area")
        for name, value in attributes:
            text = value or ""
            if name.startswith("on"):
                self.active += 1
            elif name in LOADING or (name in HREFS and tag in DRAWN):
                loaded = self._loaded(text)
                kept.append((name, loaded) if loaded is not None else (BLOCKED, None))
            elif name == "srcset":
                loads = [self._loaded(part.split()[0]) for part in text.split(",") if part.strip()]
                if loads and None not in loads:
                    kept.append((name, value))
            elif name in HREFS and links:
                if LINK.match(text):
                    kept += [(name, text), ("target", "_blank"), ("rel", "noopener noreferrer")]
                elif text.startswith("#"):
                    kept.append((name, text))
            elif name == "style":
                kept.append((name, self._css(text)))
            elif name not in DROPPED and not (links and name in ("target", "rel")):
                kept.append((name, value))
        return kept

    def _count_loaded(self, tag: str, attributes: Attributes) -> None:
        for name, value in attributes:
            if name in LOADING or (name == "href" and tag == "link"):
                self._loaded(value or "")

    def _css(self, text: str) -> str:
        def put(found: re.Match[str]) -> str:
            loaded = self._loaded(next((part for part in found.groups() if part), ""))
            return f'url("{_for_css(loaded)}")' if loaded is not None else NOTHING

        def imported(found: re.Match[str]) -> str:
            address = ADDRESS.search(found[0])
            if address is not None:
                self.elsewhere.add(address[0])
            return ""

        return URL.sub(put, IMPORT.sub(imported, text))

    def _loaded(self, address: str) -> str | None:
        """What a picture's address becomes; None for none."""
        address = address.strip()
        scheme = address[:8].lower()
        if scheme.startswith("cid:"):
            return self._picture(unquote(address[4:]))
        if scheme.startswith(("http:", "https:", "//")):
            address = f"https:{address}" if scheme.startswith("//") else address
            self.elsewhere.add(address)
            return address if self._remote else None
        return address if address[:11].lower() == "data:image/" else None

    def _replace(self, start: int, end: int, text: str) -> None:
        if not self._replaced or start >= self._replaced[-1][1]:
            self._replaced.append((start, end, text))

    def _at(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column


def _written(tag: str, attributes: Attributes) -> str:
    pairs = (
        name if value is None else f'{name}="{escape(value, quote=True)}"'
        for name, value in attributes
        if NAME.fullmatch(name)
    )
    return f"<{' '.join([tag, *pairs])}>"


def _for_css(address: str) -> str:
    return "".join(char if char not in "\"\\<>'()\n" else f"%{ord(char):02x}" for char in address)


# No origin, so no cookies and nothing of the inbox; no script, form, plugin or frame; nothing from anywhere. Links open
# outside of the sandbox, or what they lead to would be crippled.
POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src data:; font-src data:; "
    "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
POLICY_WITH_PICTURES = POLICY.replace("img-src data:", "img-src data: http: https:")
# A megabyte is ten times what mail programs show of a mail. What is longer is shown as it is, under the same policy.
MOST_REWRITTEN = 1_048_576
ACTIVE = {"script", "form", "iframe", "frame", "object", "embed", "applet"}
GONE = {"link", "meta", "base", "iframe", "frame", "frameset", "object", "embed", "applet", "portal"}
LEFT_OUT = re.compile(rf"<(/?)(script|{'|'.join(sorted(GONE))})(?![\w-])", re.I)
LOADING = {"src", "background", "poster", "data", "lowsrc", "dynsrc"}
HREFS = {"href", "xlink:href"}
DRAWN = {"image", "use", "feimage"}
DROPPED = {"action", "formaction", "ping", "srcdoc", "autofocus", "manifest"}
BLOCKED = "data-blocked"
NAME = re.compile(r"[A-Za-z_][\w:.-]*")
LINK = re.compile(r"(?:https?://|mailto:|tel:)", re.I)
ADDRESS = re.compile(r"(?:https?:)?//[^\s\"')]+", re.I)
IMPORT = re.compile(r"@import\b[^;{}]*;?", re.I)
URL = re.compile(r"url\(\s*(?:\"([^\"]*)\"|'([^']*)'|([^()\"'\s]*))\s*\)", re.I)
NOTHING = 'url("data:,")'
# Behind the mail: what stood before it would change how browsers read it (quirks).
STYLE = (
    "\n<style>x-script { display: none } "
    f"img[{BLOCKED}] {{ outline: 1px dashed #b9c0be; background: #f1f3f2; color: #5b6a67; font: 12px sans-serif }}"
    "</style>"
)
