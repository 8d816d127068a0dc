"""A fingerprint has one spelling, and what is wrong with a text is said where it is wrong."""

from __future__ import annotations

import base64
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit import IdentityError, _core
from socketkit.fingerprint import NotFingerprint, canonical, public_key_pin
from tests.keys import A


@pytest.mark.slow
@given(st.binary(min_size=32, max_size=32))
def test_round_trip(raw: bytes) -> None:
    text = _core.fingerprint_text(raw)
    assert canonical(text) == text
    assert canonical(text.upper()) == text
    assert canonical("-".join([text[:10], text[10:30], text[30:]])) == text
    assert _core.fingerprint_bytes(text) == raw
    assert base64.b64decode(public_key_pin(text).removeprefix("sha256//")) == raw


@pytest.mark.parametrize(
    ("text", "offset", "words"),
    [
        ("", 0, "it reads sk1:"),
        ("sk2:" + A[4:], 0, "it reads sk1:"),
        (A[:20] + "1" + A[21:], 20, r"'1' cannot .* \(did you mean l or i\?\)"),
        (A[:20] + "ü" + A[21:], 20, "'ü' cannot .* letters, and the digits 2 to 7"),
        (A[:20] + "\u212a" + A[21:], 20, "cannot stand"),  # the Kelvin sign, whose lower case is k
        (A[:-1], 0, "57 characters after sk1:, not 58"),
        (A + "a", 0, "59 characters"),
        ("sk1:", 0, "0 characters"),
        (A[:-1] + "ab"[A[-1] == "a"], 0, r"check digits do not match \(a character is wrong"),
    ],
)
def test_what_is_none(text: str, offset: int, words: str) -> None:
    with pytest.raises(NotFingerprint, match=words) as caught:
        canonical(text)
    assert caught.value.offset == offset
    assert isinstance(caught.value, IdentityError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.offset) == (str(caught.value), offset)


@pytest.mark.slow
@given(st.text(max_size=70))
def test_any_text_is_taken_or_refused(text: str) -> None:
    try:
        assert canonical(text) == text.replace("-", "").lower()
    except NotFingerprint as fault:
        assert 0 <= fault.offset <= len(text)
