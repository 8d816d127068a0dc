"""What kind of content a file is sent as: by its name, and alike on every machine."""

from __future__ import annotations

import mimetypes
import os
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["kind_of"]


def kind_of(names: Sequence[bytes]) -> str:
    """The media type of the file at the end of a path; text is UTF-8. Of a packed file, that of its packing."""
    return _kind(os.fsdecode(names[-1]) if names else "")


@lru_cache(maxsize=1_024)
def _kind(name: str) -> str:
    # Kept, for of one small file it would be a tenth of all that is done to send it.
    kind, packed = _types().guess_type(name, strict=False)
    if packed is not None:
        return PACKED.get(packed, UNKNOWN)
    kind = ADDED.get(os.path.splitext(name)[1].lower(), kind) or UNKNOWN
    return f"{kind}; charset=utf-8" if kind.startswith("text/") or kind in TEXTS else kind


@cache
def _types() -> mimetypes.MimeTypes:
    # Without the tables of the machine, which differ: the same file would be a text here and a download there.
    return mimetypes.MimeTypes()


UNKNOWN = "application/octet-stream"
PACKED = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "br": "application/x-br",
}
TEXTS = {"application/json", "application/javascript", "application/xml", "image/svg+xml"}
# What mimetypes of Python 3.11 does not know, or calls otherwise than browsers do.
ADDED = {
    ".apk": "application/vnd.android.package-archive",
    ".avif": "image/avif",
    ".flac": "audio/flac",
    ".heic": "image/heic",
    ".ics": "text/calendar",
    ".js": "text/javascript",
    ".log": "text/plain",
    ".m4a": "audio/mp4",
    ".m4v": "video/mp4",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".mkv": "video/x-matroska",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".rs": "text/plain",
    ".toml": "text/plain",
    ".ts": "video/mp2t",
    ".wasm": "application/wasm",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
    ".yaml": "text/plain",
    ".yml": "text/plain",
}
