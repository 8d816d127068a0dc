"""The order of trust, row by row, and what a refused peer's error says."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from socketkit import ConnectError, Endpoint, IdentityError, Trust, UntrustedPeer
from socketkit.known_peers import KnownPeers
from socketkit.trusting import Decision, decide
from tests.keys import A, B, C, D, fingerprint

OWN = D
R = frozenset[str]


@pytest.fixture
def known(tmp_path: Path) -> KnownPeers:
    """`known.example:1`, 127.0.0.1:1 and /run/known.sock have key A (and B); C is revoked everywhere."""
    peers = KnownPeers(tmp_path / "known_peers")
    for place in ("known.example:1", "127.0.0.1:1", "/run/known.sock"):
        peers.add(place, A)
        peers.add(place, B, also=True)
    peers.revoke(C)
    return peers


FIRST_USE = {"first_use": True}
WITH_OWN = {"first_use": True, "pins": (OWN,), "own": OWN}
TOLD = {"told": True}


@pytest.mark.parametrize(
    ("address", "trust", "fields"),
    [
        # The key in the address, or the caller's: that one, whatever else is known.
        (f"tls://new.example:1?pin={B}", None, {"pins": (B,), **TOLD}),
        (f"tls://known.example:1?pin={OWN}", None, {"pins": (OWN,), **TOLD}),
        (f"tls://localhost:1?pin={A}", None, {"pins": (A,), **TOLD}),
        ("tls://localhost:1", Trust.pin(A, B), {"pins": Trust.pin(A, B).pins, **TOLD}),
        (f"tls://h:1?pin={C}", None, {"pins": (), **TOLD}),
        ("tls://h:1", Trust.pin(C, A), {"pins": (A,), **TOLD}),
        # What is said of whom to trust comes before what is known.
        ("tls://known.example:1?trust=system", None, {"roots": "system", **TOLD}),
        ("tls://known.example:1", Trust.system(), {"roots": "system", **TOLD}),
        ("tls://127.0.0.1:1?trust=system", None, {"roots": "system", **TOLD}),
        ("tls://known.example:1?ca=/ca.pem", None, {"roots": "/ca.pem", **TOLD}),
        ("tls://192.0.2.1:1", Trust.authority("/ca.pem"), {"roots": "/ca.pem", **TOLD}),
        ("tls://known.example:1?trust=danger_anyone", None, {"anyone": True, **TOLD}),
        ("tls://new.example:1", Trust.danger_anyone(), {"anyone": True, **TOLD}),
        # First use that is asked for: the known key, and any if none is known, for any host.
        ("tls://known.example:1?trust=first_use", None, {"pins": (A, B)}),
        ("tls://new.example:1?trust=first_use", None, {**FIRST_USE, **TOLD}),
        ("tls://new.example:1", Trust.first_use(), {**FIRST_USE, **TOLD}),
        ("tls://localhost:1", Trust.first_use(), {**WITH_OWN, **TOLD}),
        # A key that is known for the place; on this machine our own, too.
        ("tls://known.example:1", None, {"pins": (A, B)}),
        ("tls://KNOWN.example:1", None, {"pins": (A, B)}),
        ("tls://known.example.:1", None, {"pins": (A, B)}),
        ("tls://127.0.0.1:1", None, {"pins": (A, B, OWN), "own": OWN}),
        ("tls+unix:///run/known.sock", None, {"pins": (A, B, OWN), "own": OWN}),
        ("tls://known.example:2", None, {"roots": "system"}),  # another port is another place
        # A name: the authorities.
        ("tls://new.example:1", None, {"roots": "system"}),
        ("tls://nas:1", None, {"roots": "system"}),
        ("tls://printer.local:1", None, {"roots": "system"}),
        ("tls://localhost.example:1", None, {"roots": "system"}),
        ("quic://new.example:1", None, {"roots": "system"}),
        ("seqpacket+tls://new.example:1", None, {"roots": "system"}),
        # This machine: first use, and our own key at once.
        ("tls://localhost:1", None, WITH_OWN),
        ("tls://LOCALHOST.:1", None, WITH_OWN),
        ("tls://:1", None, WITH_OWN),
        ("tls://127.0.0.2:1", None, WITH_OWN),
        ("tls://[::1]:1", None, WITH_OWN),
        ("tls+unix:///run/new.sock", None, WITH_OWN),
        ("tls+unix://@new", None, WITH_OWN),
        # Private and other addresses: first use; our own key only if it is known.
        ("tls://10.1.2.3:1", None, FIRST_USE),
        ("tls://172.16.0.1:1", None, FIRST_USE),
        ("tls://192.168.0.1:1", None, FIRST_USE),
        ("tls://100.64.0.1:1", None, FIRST_USE),
        ("tls://169.254.0.1:1", None, FIRST_USE),
        ("tls://[fe80::1%25eth0]:1", None, FIRST_USE),
        ("tls://[fd00::1]:1", None, FIRST_USE),
        ("tls://192.0.2.1:1", None, FIRST_USE),
        ("tls://[2001:db8::1]:1", None, FIRST_USE),
        ("tls://*:1", None, FIRST_USE),
        ("tls://0.0.0.0:1", None, FIRST_USE),
    ],
)
def test_order(known: KnownPeers, address: str, trust: Trust | None, fields: dict[str, Any]) -> None:
    endpoint = Endpoint.parse(address)
    decision = decide(endpoint, trust, known, OWN)
    assert decision == Decision(endpoint, revoked=R({C}), **fields)
    assert decision.pins == fields.get("pins", ())
    assert C not in decision.pins


def test_without_an_own_identity(known: KnownPeers) -> None:
    endpoint = Endpoint.parse("tls://localhost:1")
    assert decide(endpoint, None, known, None) == Decision(endpoint, revoked=R({C}), first_use=True)


def test_own_key_that_is_revoked(known: KnownPeers) -> None:
    assert decide(Endpoint.parse("tls://localhost:1"), None, known, C).pins == ()


def test_place_whose_keys_are_all_revoked_is_a_new_one(known: KnownPeers) -> None:
    known.revoke(A)
    known.revoke(B)
    decision = decide(Endpoint.parse("tls://known.example:1"), None, known)
    assert (decision.pins, decision.roots, decision.revoked) == ((), "system", R({A, B, C}))


def test_both_the_address_and_the_caller(known: KnownPeers) -> None:
    with pytest.raises(ValueError, match="both the address and trust="):
        decide(Endpoint.parse(f"tls://h:1?pin={A}"), Trust.pin(A), known)


def test_file_that_cannot_be_read_is_no_reason_to_trust(known: KnownPeers) -> None:
    with open(known.path, "a") as file:
        file.write("@revoked sk1:broken\n")
    for trust in (None, Trust.danger_anyone(), Trust.pin(A), Trust.system()):
        with pytest.raises(IdentityError, match="line "):
            decide(Endpoint.parse("tls://h:1"), trust, known)


# --- what is said


def refusal(known: KnownPeers, address: str, presented: str | None, trust: Trust | None = None) -> UntrustedPeer:
    endpoint = Endpoint.parse(address)
    error = decide(endpoint, trust, known, OWN).refusal(presented)
    assert (error.operation, error.endpoint, error.presented) == ("connect", endpoint, presented)
    assert isinstance(error, ConnectError)
    assert not error.transient
    assert "nothing was sent" in str(error)
    return error


def test_changed_key(known: KnownPeers) -> None:
    error = refusal(known, "tls://known.example:1", D)
    assert error.expected == (A, B)
    assert f"has changed: it is {D}, known is {A} or {B}" in str(error)
    assert str(error).endswith(f"socketkit trust replace known.example:1 {D}")


def test_changed_key_on_this_machine_does_not_name_our_own(known: KnownPeers) -> None:
    error = refusal(known, "tls://127.0.0.1:1", fingerprint(9))
    assert error.expected == (A, B)
    assert OWN not in str(error)


def test_other_key_than_in_the_address(known: KnownPeers) -> None:
    error = refusal(known, f"tls://h:1?pin={A}", B)
    assert error.expected == (A,)
    assert f"the peer's key is {B}, expected was {A}" in str(error)
    assert str(error).endswith(f"write pin={B}")


def test_unknown_key_on_first_use(known: KnownPeers) -> None:
    error = refusal(known, "tls://[2001:db8::1]:1", B)
    assert error.expected == ()
    command = str(error).partition("confirms that it is his: ")[2]
    assert shlex.split(command) == ["socketkit", "trust", "add", "[2001:db8::1]:1", B]
    assert refusal(known, "tls://localhost:1", B).expected == ()  # our own is an extra


def test_nobody_vouches_for_a_name(known: KnownPeers) -> None:
    text = str(refusal(known, "tls://nas:1", B))
    assert "no authority of this machine vouches for the peer" in text
    assert text.endswith(f"socketkit trust add nas:1 {B}")


@pytest.mark.parametrize(
    ("trust", "words"),
    [
        (Trust.system(), "the authorities of this machine do not vouch for the peer"),
        (Trust.authority("/ca.pem"), "the authorities in /ca.pem do not vouch for the peer"),
        (Trust.pin(C), "all keys that would be accepted are revoked"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_where_known_peers_would_change_nothing(known: KnownPeers, trust: Trust, words: str) -> None:
    text = str(refusal(known, "tls://nas:1", B, trust))
    assert words in text
    assert B in text
    assert "socketkit trust" not in text


def test_first_use_that_was_asked_for(known: KnownPeers) -> None:
    assert str(refusal(known, "tls://nas:1", B, Trust.first_use())).endswith(f"socketkit trust add nas:1 {B}")


@pytest.mark.parametrize("trust", [None, Trust.system(), Trust.danger_anyone(), Trust.pin(A), Trust.first_use()])
def test_revoked_key(known: KnownPeers, trust: Trust | None) -> None:
    assert f"the peer's key {C} is revoked in known_peers" in str(refusal(known, "tls://h:1", C, trust))


def test_no_key(known: KnownPeers) -> None:
    assert f"showed no key, expected was {A}" in str(refusal(known, f"tls://h:1?pin={A}", None))
    assert "showed no key:" in str(refusal(known, "tls://h:1", None))


def test_frozen() -> None:
    decision = Decision(Endpoint.parse("tls://h:1"))
    assert decision in {Decision(Endpoint.parse("tls://h:1"))}
    assert decision != "h:1"
    assert "place='h:1'" in repr(decision)
    with pytest.raises(AttributeError):
        decision.anyone = True  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del decision.anyone
