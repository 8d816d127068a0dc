"""The text of an identity: `sk1:`, then the SHA-256 of the public key and 6 check digits in base32.

The engine reads and writes it; here are the words for what is wrong with one, and its other spelling.
"""

from __future__ import annotations

from . import _core
from .errors import IdentityError


class NotFingerprint(IdentityError):
    """The text is no fingerprint: `reason (hint)`; `offset` is the index of the fault in it."""

    def __init__(self, reason: str, hint: str, offset: int = 0) -> None:
        super().__init__(f"{reason} ({hint})")
        self.reason = reason
        self.hint = hint
        self.offset = offset

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.reason, self.hint, self.offset)


def canonical(text: str) -> str:
    """The fingerprint in the one spelling that is written: lower case, no hyphens. Raises NotFingerprint."""
    if text[:4].lower() != "sk1:":
        raise NotFingerprint("not an identity", "it reads sk1:..., as the peer prints it when it listens")
    for offset, digit in enumerate(text):
        if offset >= 4 and digit not in _CHARACTERS:
            meant = _MEANT.get(digit)
            hint = f"did you mean {meant}?" if meant else "it has letters, and the digits 2 to 7"
            raise NotFingerprint(f"{digit!r} cannot stand in an identity", hint, offset)
    count = len(text) - 4 - text.count("-")
    if count != DIGITS:
        reason = f"not an identity: it has {count} characters after sk1:, not {DIGITS}"
        raise NotFingerprint(reason, "copy all of it, as the peer prints it when it listens")
    try:
        return _core.fingerprint_text(_core.fingerprint_bytes(text))
    except ValueError as failure:
        hint = "a character is wrong: copy it again, as the peer prints it when it listens"
        raise NotFingerprint("not an identity: its check digits do not match", hint) from failure


def public_key_pin(fingerprint: str) -> str:
    """The same as curl's `--pinnedpubkey` takes it: `sha256//` and base64."""
    from binascii import b2a_base64

    return "sha256//" + b2a_base64(_core.fingerprint_bytes(fingerprint), newline=False).decode()


DIGITS = 58  # 52 of the hash, 6 to check them
_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ234567-")
_MEANT = {"0": "o", "1": "l or i", "8": "b", "9": "g"}
