"""A certificate authority of this user's own, for browsers: a telephone that has it opens his services without a word.

- It may vouch for private addresses, `.local` and such names, and this machine's name, and for nothing else: the limit
  is in its certificate, so that even a stolen key makes nobody's bank.
- Its key stays in `authority.pem` in socketkit's folder, readable by this user alone.
- Without it a browser is shown a certificate that this machine has issued for itself (`browser.pem`), and warns of it
  once; `Shown.fingerprint` is what to compare.

Either way programs that know the identity (`sk1:`) are shown that: a pin stays good whatever browsers get.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple, final

from .. import _core, home, kept_file
from ..errors import IdentityError
from ..identity import Identity, certificate_names, of_pem
from ..inspect import certificates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..inspect.certificates import Certificate


@final
class Authority:
    """The authority in a file. Made by `existing` and `make`."""

    def __init__(self, path: str, pem: bytes) -> None:
        self.path = path
        self._pem = pem
        blocks = _blocks(path, pem)
        self.certificate = blocks[1]
        """Its certificate (PEM), for those who are to trust it; nothing in it is secret."""
        self._read = certificates.read(_der(self.certificate))
        self.name = self._read.subject
        # The host that it was made for is in its name; this machine may be called otherwise by now.
        self._host = " ".join(self.name.split(" ")[1:-1])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its certificate, as browsers and telephones show it."""
        return _fingerprint(self.certificate)

    @property
    def expires(self) -> int:
        """When it runs out, in seconds since 1970."""
        return _expires(self._read)

    def vouches_for(self, name: str) -> bool:
        """Whether it may vouch for a DNS name or an address: for what it was made for."""
        from ipaddress import ip_address, ip_network

        within = _within(self._host)
        try:
            address = ip_address(name)
        except ValueError:
            known = [part for part in within if "/" not in part]
            return any(name.lower() == part or name.lower().endswith(f".{part}") for part in known)
        return any(address in ip_network(part) for part in within if "/" in part)

    def issue(self, names: Sequence[str], key: str | None = None) -> bytes:
        """A key and its certificate (PEM) for those of these names that it vouches for; the key is a new one, or `key`.

        Raises ValueError for a key that cannot sign.
        """
        covered = [name for name in names if self.vouches_for(name)]
        now = int(time.time())
        until = min(now + LEAF_SECONDS, self.expires)
        return _core.issue_certificate(covered, (now - SKEW_SECONDS, until), key, (self._pem.decode(), self.name))


class Shown(NamedTuple):
    """What a service shows of itself."""

    identity: Identity
    authority: Authority | None
    """The one that vouches for it to browsers; None if it vouches for itself."""
    fingerprint: str
    """SHA-256 of the certificate that browsers get, as they show it."""
    trusted: str
    """What those must trust who check it (PEM): the authority's certificate, or those that it shows itself."""


def existing() -> Authority | None:
    """This user's authority, or None. IdentityError if its file is not to be used, or has run out."""
    path = home.file(FILE)
    data = kept_file.read(path, private=True)
    if data is None:
        return None
    authority = Authority(path, data)
    if authority.expires <= time.time():
        raise IdentityError(f"the authority in {path} has run out: `socketkit authority make --replace`")
    return authority


def make(*, replace: bool = False) -> Authority:
    """A new authority for this user. IdentityError if he has one and does not want to `replace` it."""
    path = home.file(FILE)
    home.prepare(path)
    with kept_file.locked(path):
        if not replace and kept_file.read(path, private=True) is not None:
            raise IdentityError(f"there is an authority in {path}, which others may trust: --replace makes a new one")
        now = int(time.time())
        # Two of one host are told apart by what they are called, too: browsers list them by it.
        name = " ".join(["socketkit", *filter(None, [_host()]), os.urandom(4).hex()])
        data = _core.make_authority(name, _within(_host()), (now - SKEW_SECONDS, now + AUTHORITY_SECONDS))
        kept_file.replace(path, data)
    return Authority(path, data)


def remove() -> bool:
    """Take this user's authority away, its key with it; whether there was one. Who trusts it goes on doing so."""
    path = home.file(FILE)
    home.prepare(path)
    with kept_file.locked(path):
        try:
            os.unlink(path)
        except FileNotFoundError:
            return False
    return True


def shown_for(names: Sequence[str], own: Identity | None = None) -> Shown:
    """What a service under these names shows: its user's identity (or `own`), and to browsers a certificate for them.

    The first name is the one that is handed out: an authority that may not vouch for it is left out.
    """
    own = own or Identity.of_user()
    authority = existing()
    if authority is None or not authority.vouches_for(names[0]):
        other = _self_issued(names)
        trusted = own.certificate + other.certificate
        return Shown(own.with_alternative(other), None, _fingerprint(other.certificate), trusted)
    other = of_pem(authority.path, authority.issue(names))
    trusted = authority.certificate
    try:
        own = of_pem(authority.path, authority.issue(names, _blocks("the identity", own._pem)[0]))
    except ValueError:  # a key that cannot be certified here (RSA in an old form) keeps its own certificate
        trusted += own.certificate
    return Shown(own.with_alternative(other), authority, _fingerprint(other.certificate), trusted)


def local_names(hosts: Sequence[str]) -> list[str]:
    """The names under which a service on these addresses is called: they, and this machine's own."""
    host = _host()
    named = [host, *([] if "." in host else [f"{host}.local"])] if host else []
    return list(dict.fromkeys([*hosts, "localhost", "127.0.0.1", "::1", *named]))


def _self_issued(names: Sequence[str]) -> Identity:
    """The one that is kept for browsers, if it is for these names; else it is made anew with the same key.

    Kept, because a browser that was told once to go on remembers the certificate.
    """
    path = home.file(BROWSER_FILE)
    home.prepare(path)
    with kept_file.locked(path):
        kept = kept_file.read(path, private=True)
        blocks = None if kept is None else _blocks(path, kept)
        if kept is not None and blocks is not None:
            read = certificates.read(_der(blocks[1]))
            if set(names) <= set(read.names) and _expires(read) > time.time() + RENEWAL_SECONDS:
                return of_pem(path, kept)
            names = list(dict.fromkeys([*names, *read.names]))[:MOST_NAMES]
        now = int(time.time())
        data = _core.issue_certificate(names, (now - SKEW_SECONDS, now + LEAF_SECONDS), blocks[0] if blocks else None)
        kept_file.replace(path, data)
    return of_pem(path, data)


def _within(host: str) -> list[str]:
    """What an authority of a machine of this name may vouch for."""
    return [*PRIVATE_NETWORKS, *PRIVATE_NAMES, *([host] if host else [])]


def _host() -> str:
    """This machine's name, if it is one that a certificate can have, and fits the name of one; else ""."""
    named = [name for name in certificate_names()[3:] if len(name) <= MOST_HOST_LETTERS]
    return named[0] if named else ""


def _blocks(path: str, pem: bytes) -> tuple[str, str]:
    """The key and the certificate in a file of ours: each as PEM."""
    text = pem.decode("ascii", "replace")
    at = text.find("-----BEGIN CERTIFICATE-----")
    if at <= 0:
        raise IdentityError(f"{path} holds no key with its certificate: remove it, and a new one is made")
    return text[:at], text[at:]


def _der(pem: str) -> bytes:
    from ssl import PEM_cert_to_DER_cert

    return PEM_cert_to_DER_cert(pem[: pem.index("-----END CERTIFICATE-----") + 25])


def _fingerprint(pem: str) -> str:
    import hashlib

    return hashlib.sha256(_der(pem)).digest().hex(":").upper()


def _expires(read: Certificate) -> int:
    return 0 if read.expires is None else int(read.expires.timestamp())


FILE, BROWSER_FILE = "authority.pem", "browser.pem"
# Ten years: who has it on his telephone has to install the next one by hand. A leaf has less than the 398 days that
# browsers take at most.
AUTHORITY_SECONDS = 10 * 365 * 86_400
LEAF_SECONDS = 390 * 86_400
RENEWAL_SECONDS = 30 * 86_400
SKEW_SECONDS = 86_400  # a telephone's clock may be behind
MOST_NAMES = 64
MOST_HOST_LETTERS = 45  # a common name has 64 (X.520)
PRIVATE_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8", "::1/128",
                    "fc00::/7", "fe80::/10")  # fmt: skip
# RFC 6761, RFC 6762, RFC 8375, and what routers at home give out.
PRIVATE_NAMES = ("localhost", "local", "home.arpa", "internal", "lan", "fritz.box")
