"""What a connection is for: `use_of` puts together what its bytes, its program, its shape and its port say.

No I/O: an entry of the socket table and what `FirstBytes` saw of it go in, a `Use` comes out. How sure it is stands
beside it: bytes that leave no doubt 0.95 and more, a program 0.6 to 0.8, the shape of a flow 0.35 to 0.45, a port alone
0.3 to 0.45. That something is encrypted is never said because of a port or of a program: only bytes show it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from .use_tables import INSIDE, LABELS, NAMES, PORTS, PROGRAMS, USES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Protocol

    from .._core import FlowEvidence
    from ..endpoint import Endpoint

    class Program(Protocol):
        @property
        def name(self) -> str: ...

    class Entry(Protocol):
        """What is asked of an entry of the socket table."""

        @property
        def scheme(self) -> str: ...
        @property
        def local(self) -> Endpoint | None: ...
        @property
        def peer(self) -> Endpoint | None: ...
        @property
        def state(self) -> str: ...
        @property
        def processes(self) -> Sequence[Program] | None: ...


__all__ = ["USES", "Use", "use_of"]

Encrypted = Literal["yes", "no", "random-looking", "unknown"]


class Use(NamedTuple):
    """What a connection is for, and how that is known."""

    name: str  # of `USES`
    protocol: str  # "TLS 1.3 h2", "HTTP/1", "WireGuard"; "" if no bytes told
    confidence: float  # 0 to 1
    reason: str  # one short sentence
    encrypted: Encrypted


def use_of(entry: Entry, evidence: FlowEvidence | None = None) -> Use:
    """What a socket is for; `evidence` is what `FirstBytes.lookup` says of it.

    Without evidence its program and its port are all there is, and `encrypted` is "unknown".
    """
    by_bytes = of_bytes(evidence) if evidence is not None else None
    if by_bytes is not None and by_bytes.confidence >= BELIEVED:
        return _refined(by_bytes, entry)
    encrypted: Encrypted = by_bytes.encrypted if by_bytes is not None else "unknown"
    if evidence is not None and by_bytes is None and evidence.looks_random:
        encrypted = "random-looking"
    guesses = [guess for guess in (by_bytes, _of_program(entry), _of_shape(evidence), _of_port(entry)) if guess]
    if not guesses:
        return Use("unknown", "", 0.0, _nothing(evidence), encrypted)
    best = max(guesses, key=lambda guess: guess.confidence)  # the first of equals
    agreeing = [guess for guess in guesses if guess is not best and guess.name == best.name]
    if agreeing:
        sure = min(best.confidence + AGREEMENT * len(agreeing), MOST_WITHOUT_BYTES)
        best = best._replace(confidence=max(best.confidence, sure), reason=f"{best.reason}, and {agreeing[0].reason}")
    return best._replace(encrypted=encrypted)


def of_bytes(evidence: FlowEvidence) -> Use | None:
    """What the first bytes say alone; None if no recogniser knows them."""
    protocol, name = evidence.protocol, evidence.purpose
    if protocol is None or name is None:
        return None
    encrypted: Encrypted = evidence.encrypted
    confidence = evidence.confidence
    if confidence < BELIEVED and encrypted == "yes":
        # A name that is only likely shows no cipher.
        encrypted = "random-looking" if evidence.looks_random else "unknown"
    reason = "its first bytes are " + protocol if evidence.started else f"a piece of its middle looks like {protocol}"
    words = [protocol]
    if protocol in ("TLS", "QUIC"):
        words = [evidence.tls_version or protocol] if protocol == "TLS" else ["QUIC"]
        inside = evidence.alpn
        words += inside[:1]
        told = _of_hello(inside, evidence.server_name)
        if told is not None:
            name, why = told
            reason += f", {why}"
        if told is None or evidence.server_name is None:
            reason += f" for {evidence.server_name}" if evidence.server_name else ""
    elif evidence.upgraded:
        words += ["with", "TLS"]
        reason += ", then TLS"
    return Use(name, " ".join(words), confidence, reason, encrypted)


def _of_hello(inside: Sequence[str], server_name: str | None) -> tuple[str, str] | None:
    """What a hello says of its purpose. That HTTP is spoken says least: everything goes through the web."""
    uses = [(INSIDE[name], f"for {name} inside") for name in inside if name in INSIDE]
    special = next((use for use in uses if use[0] != "web"), None)
    if special is not None:
        return special
    if server_name is not None:
        labels = server_name.split(".")
        for start in range(len(labels)):
            use = NAMES.get(".".join(labels[start:]))
            if use is not None:
                return use, f"for {server_name}"
        if not uses and labels[0] in LABELS:
            return LABELS[labels[0]], f"for {server_name}"
    return uses[0] if uses else None


def _refined(use: Use, entry: Entry) -> Use:
    """TLS without a name or a purpose in it carries anything: who holds it, and the port, may say what."""
    if use.name != "web" or not use.protocol.startswith(("TLS", "SSL", "QUIC")) or " for " in use.reason:
        return use
    for guess in (_of_program(entry), _of_port(entry)):
        if guess is not None and guess.name != "web":
            return use._replace(name=guess.name, confidence=guess.confidence, reason=f"{use.reason}; {guess.reason}")
    return use


def _of_program(entry: Entry) -> Use | None:
    for process in entry.processes or ():
        known = PROGRAMS.get(process.name[:15])
        if known is not None:
            return Use(known[0], "", known[1], f"{process.name} holds it", "unknown")
    return None


def _of_port(entry: Entry) -> Use | None:
    table = PORTS.get(entry.scheme[:3])
    if table is None:
        return None
    for port, listens in _ports(entry):
        known = table.get(port)
        if known is not None:
            # Whoever listens on it has chosen it; of a connection either end may have it by chance.
            sure = 0.45 if listens else 0.4 if port < FIRST_FREE_PORT else 0.3
            return Use(known[0], "", sure, f"port {port} is {known[1]}'s", "unknown")
    return None


def _ports(entry: Entry) -> Iterator[tuple[int, bool]]:
    """The port that was called comes first: it is not among those that the kernel deals out."""
    local = entry.local.port if entry.local is not None else None
    peer = entry.peer.port if entry.peer is not None else None
    if peer is not None:
        yield from ((port, False) for port in sorted({port for port in (local, peer) if port}))
    elif local:
        yield local, entry.state == "listening"


def _of_shape(evidence: FlowEvidence | None) -> Use | None:
    """What sizes and rates look like: speech goes both ways in small even steps, a film comes in full packets."""
    if evidence is None or evidence.seconds < SHAPE_SECONDS:
        return None
    sent, received = evidence.packets
    sent_bytes, received_bytes = evidence.payload_bytes
    rate = min(sent, received) / evidence.seconds
    if evidence.transport == "udp" and sent and received:
        mean = (sent_bytes + received_bytes) / (sent + received)
        even = max(sent, received) <= 3 * min(sent, received)
        if even and 20 <= rate <= 120 and 80 <= mean <= 400:
            return Use("call", "", 0.45, "small packets go both ways as steadily as speech", "unknown")
        if even and 8 <= rate <= 200 and mean < 80:
            return Use("game", "", 0.35, "very small packets go both ways all the time", "unknown")
    more, less = max(sent_bytes, received_bytes), min(sent_bytes, received_bytes)
    if more > 20 * max(less, 1) and more / evidence.seconds > STREAM_BYTES_PER_SECOND and evidence.seconds > 20:
        return Use("streaming", "", 0.35, "much comes one way for a long time", "unknown")
    return None


def _nothing(evidence: FlowEvidence | None) -> str:
    if evidence is None:
        return "no bytes were seen, and neither its program nor its port is known"
    if not evidence.started:
        return "it ran before anyone looked, and neither its program nor its port is known"
    return "nothing known begins like this"


# From here on, what bytes say needs nobody's agreement.
BELIEVED = 0.8
AGREEMENT = 0.1
MOST_WITHOUT_BYTES = 0.85
FIRST_FREE_PORT = 1_024
SHAPE_SECONDS = 3.0
STREAM_BYTES_PER_SECOND = 60_000
