"""Fingerprints for tests: of nobody's key, with check digits that fit."""

from __future__ import annotations

from socketkit import _core


def fingerprint(number: int) -> str:
    """The one of 32 bytes of this number."""
    return _core.fingerprint_text(bytes([number]) * 32)


A, B, C, D = map(fingerprint, (1, 2, 3, 4))
