"""`send`: mail leaves, encrypted and to a server that proved who it is, and each recipient's fate is told.

SMTP is spoken by aiosmtplib, and MX records are read by dnspython (both in the extra `mail`). TLS is required: from
the start on `tls://`, by STARTTLS on `tcp://`; plain text only where the address says `plaintext=yes`. Whom to trust is
decided in the order of the whole package (trusting.py), before a password or a mail is sent.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import _core
from ...endpoint import Endpoint
from ...errors import ConnectError, Unsupported
from ...identity import existing
from ...known_peers import KnownPeers
from ...securing import secured
from ...trusting import decide
from .smtp_syntax import PathError, recipient_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from email.message import Message

    from ...trust import Trust
    from ...trusting import Decision


class Delivery(NamedTuple):
    """What a server said to one recipient: `code` 250 is yes. `server` is its address."""

    recipient: str
    code: int
    text: str
    server: str

    @property
    def accepted(self) -> bool:
        return 200 <= self.code < 300

    @property
    def transient(self) -> bool:
        """Whether the same mail may be taken later (4yz)."""
        return 400 <= self.code < 500

    def __str__(self) -> str:
        return f"{self.recipient}: {self.code} {self.text} ({self.server})"


class DeliveryError(OSError):
    """No recipient was accepted, or the sender or the mail was refused; `deliveries` has what was said to each."""

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self.deliveries = tuple(deliveries)
        super().__init__("; ".join(map(str, deliveries)) or "there is nobody to send it to")

    @property
    def transient(self) -> bool:
        return all(delivery.transient for delivery in self.deliveries)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.deliveries,)


class Login(NamedTuple):
    """For a server that asks for one. Its text form hides the password."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.user!r}, ***)"


async def send(
    message: Message | bytes,
    *,
    sender: str,
    recipients: Iterable[str],
    server: str | Endpoint | None = None,
    login: Login | None = None,
    trust: Trust | None = None,
    name: str | None = None,
    seconds: float = 60.0,
) -> list[Delivery]:
    """Send a mail; gives what was said to each recipient, of whom at least one was accepted.

    `server`: `tls://HOST:465`, or `tcp://HOST:587` for STARTTLS; without one the mail goes to the servers that the
    recipients' domains name (MX, port 25). `name` is what this side calls itself. `seconds` bounds each step.

    Raises DeliveryError when nobody was accepted, ConnectError when no server answers, UntrustedPeer when it is not the
    one that was meant, Unsupported when it has no TLS or a package is missing, ValueError for what is no address.
    Nothing is sent again by itself: a DeliveryError that is `transient` may be.
    """
    people = [_address(recipient) for recipient in recipients]
    if not people:
        raise DeliveryError(())
    if sender:
        _address(sender)
    content = message if isinstance(message, bytes) else message.as_bytes()
    mail = _Mail(content, sender, login, trust, name, seconds)
    if server is not None:
        return _required(await mail.deliver(Endpoint.parse(server), people))
    said: list[Delivery] = []
    for domain in dict.fromkeys(person.rpartition("@")[2] for person in people):
        theirs = [person for person in people if person.rpartition("@")[2] == domain]
        said += await mail.deliver_to_domain(domain, theirs)
    return _required(said)


def _required(said: list[Delivery]) -> list[Delivery]:
    if not any(delivery.accepted for delivery in said):
        raise DeliveryError(said)
    return said


def _address(text: str) -> str:
    """An address that can stand in a command: nothing else gets into the dialogue."""
    try:
        return recipient_path(f"TO:<{text}>", utf8=True)
    except PathError as fault:
        raise ValueError(f"{text!r} is no address: {str(fault)[10:]}") from None


class _Mail(NamedTuple):
    content: bytes
    sender: str
    login: Login | None
    trust: Trust | None
    name: str | None
    seconds: float

    async def deliver_to_domain(self, domain: str, recipients: list[str]) -> list[Delivery]:
        """By the domain's servers, the best first: the next one if one cannot be reached."""
        failure: ConnectError | None = None
        for host in await mail_servers(domain, self.seconds):
            try:
                return await self.deliver(Endpoint.parse("tcp://localhost:25").replace(host=host), recipients)
            except ConnectError as unreached:
                if type(unreached) is not ConnectError:
                    raise  # an impostor is no reason to try the next one
                failure = unreached
        assert failure is not None
        raise failure

    async def deliver(self, server: Endpoint, recipients: list[str]) -> list[Delivery]:
        smtp = _library("aiosmtplib")
        try:
            return await self._deliver(smtp, server, recipients)
        except smtp.SMTPRecipientsRefused as refused:
            return [_delivery(each.recipient, each, server) for each in refused.recipients]
        except (
            smtp.SMTPSenderRefused,
            smtp.SMTPDataError,
            smtp.SMTPHeloError,
            smtp.SMTPAuthenticationError,
        ) as refused:
            return [_delivery(recipient, refused, server) for recipient in recipients]
        except (smtp.SMTPException, OSError) as failure:
            if isinstance(failure, (ConnectError, Unsupported)):
                raise
            raise ConnectError("send to", server, str(failure) or type(failure).__name__) from failure

    async def _deliver(self, smtp: Any, server: Endpoint, recipients: list[str]) -> list[Delivery]:
        encrypted = server.carrier == "tls"
        plain = server.query.get("plaintext") == "yes"
        # `decide` is asked for the place under TLS, where keys are known.
        mine = existing()
        decision = decide(secured(server), self.trust, KnownPeers(), mine.fingerprint if mine else None)
        context = _context(decision)
        client = smtp.SMTP(
            hostname=server.host or "localhost",
            port=server.port or (465 if encrypted else 25),
            local_hostname=self.name,
            timeout=self.seconds,
            use_tls=encrypted,
            start_tls=False,
            tls_context=context if encrypted else None,
        )
        async with client:
            await client.ehlo()
            if not encrypted and not plain:
                if not client.supports_extension("starttls"):
                    remedy = "it offers no STARTTLS: use tls://, or write plaintext=yes into the address"
                    raise Unsupported("send to", server, remedy)
                await client.starttls(server_hostname=server.host, tls_context=context)
            if not plain or encrypted:
                _check(decision, client)
            if self.login is not None:
                if plain and not encrypted:
                    raise Unsupported("send to", server, "a password is sent under TLS only: leave plaintext=yes out")
                await client.login(self.login.user, self.login.password)
            utf8 = not (self.sender + "".join(recipients)).isascii()
            options = ["SMTPUTF8", "BODY=8BITMIME"] if utf8 else []
            refused, text = await client.sendmail(self.sender, recipients, self.content, mail_options=options)
        taken = [Delivery(each, 250, text, _place(server)) for each in recipients if each not in refused]
        return taken + [_delivery(recipient, said, server) for recipient, said in refused.items()]


async def mail_servers(domain: str, seconds: float = 30.0) -> list[str]:
    """The hosts that take a domain's mail, the best first (RFC 5321 §5.1); the domain itself if it names none.

    Raises DeliveryError for a domain that does not exist, or says that it takes no mail (RFC 7505), ConnectError when
    the name servers do not answer.
    """
    _library("dns.asyncresolver")
    import dns.asyncresolver
    import dns.exception
    import dns.resolver

    try:
        answer = await dns.asyncresolver.resolve(domain, "MX", lifetime=seconds)
    except dns.resolver.NoAnswer:
        return [domain]
    except dns.resolver.NXDOMAIN:
        raise DeliveryError([Delivery(f"*@{domain}", 550, "there is no such domain", "DNS")]) from None
    except dns.exception.DNSException as failure:
        raise ConnectError("look up the mail servers of", None, f"{domain}: {failure}") from failure
    found = sorted((record.preference, str(record.exchange).rstrip(".")) for record in answer)
    if [host for _, host in found] == [""]:
        raise DeliveryError([Delivery(f"*@{domain}", 556, "the domain takes no mail", "DNS")])
    return [host for _, host in found if host]


def _context(decision: Decision) -> ssl.SSLContext:
    """What the standard library checks: authorities and names where these decide, else nothing: `_check` does then."""
    if decision.roots is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context = ssl.create_default_context(cafile=None if decision.roots == "system" else decision.roots)
        if decision.pins:  # a known key is as good as an authority's word
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _check(decision: Decision, client: Any) -> None:
    """Raises UntrustedPeer before a password or a mail was sent."""
    session = client.transport.get_extra_info("ssl_object")
    shown = session.getpeercert(binary_form=True) if session is not None else None
    presented = _core.certificate_fingerprint(ssl.DER_cert_to_PEM_cert(shown).encode()) if shown else None
    if presented is not None and presented not in decision.revoked:
        if decision.anyone or presented in decision.pins:
            return
        if decision.roots is not None and not decision.pins:
            return  # the handshake has checked it
    raise decision.refusal(presented, "send to")


def _delivery(recipient: str, said: Any, server: Endpoint) -> Delivery:
    text = " ".join(str(said.message).split())
    return Delivery(recipient, int(said.code), text, _place(server))


def _place(server: Endpoint) -> str:
    return str(server.replace(query={}))


def _library(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        package = {"aiosmtplib": "aiosmtplib"}.get(name, "dnspython")
        raise Unsupported("send mail", None, f"{package} is missing: pip install 'socketkit[mail]'") from None
