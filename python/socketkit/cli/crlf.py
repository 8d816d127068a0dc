"""LF to CRLF, for protocols that end their lines so (RFC 5234 §B.1); a CRLF stays one, also across chunks."""

from __future__ import annotations


class LineEnds:
    def __init__(self) -> None:
        self._behind_cr = False

    def converted(self, chunk: bytes) -> bytes:
        kept = b"\n" if self._behind_cr and chunk.startswith(b"\n") else b""
        if chunk:
            self._behind_cr = chunk.endswith(b"\r")
        return kept + chunk[len(kept) :].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
