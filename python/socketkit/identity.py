"""Who this side is: a private key, and the certificate that carries its public half.

There is one identity per user, made when it is first needed. What tells it apart is the fingerprint of its public key,
so a certificate may be renewed, and one issued by an authority may be used, without becoming somebody else.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, final

from . import _core, home, kept_file
from .errors import IdentityError
from .schemes import Misfit, host_name, ip_address

if TYPE_CHECKING:
    from typing import NoReturn


@final
class Identity:
    """A private key with its certificates: a frozen value that shows its fingerprint, and never its key.

    It cannot be pickled, so that no key travels by accident: pass the path of its file.
    """

    __slots__ = ("_alternative", "_pem", "fingerprint")

    fingerprint: str
    _pem: bytes
    _alternative: bytes | None

    def __new__(cls) -> Identity:
        raise TypeError("write Identity.of_user(), Identity.load(path) or Identity.new()")

    @staticmethod
    def of_user() -> Identity:
        """This user's own: `identity.pem` in socketkit's folder, made now if it is missing.

        Raises IdentityError if others can read the file, if it belongs to another user or holds no key; OSError if it
        cannot be written.
        """
        own = existing()
        if own is not None:
            return own
        path = user_file()
        home.prepare(path)
        # Of two first users one makes the key, and the other one finds it.
        with kept_file.locked(path):
            own = existing()
            if own is None:
                data = _core.make_identity(certificate_names())
                kept_file.replace(path, data)
                own = _made(path, data, data)
        return own

    @staticmethod
    def new() -> Identity:
        """A new one in memory, for as long as it is needed."""
        data = _core.make_identity(certificate_names())
        return _made("a new identity", data, data)

    @staticmethod
    def load(path: str | os.PathLike[str], certificates: str | os.PathLike[str] | None = None) -> Identity:
        """The one in these PEM files: a private key and its certificate chain, the key's own certificate first.

        Without `certificates` both are in one file. Raises IdentityError if a file is missing, if others can read the
        key, or if there is no key or no certificate.
        """
        key = _required(path, private=True)
        chain = key if certificates is None else _required(certificates, private=False)
        return _made(os.fspath(path), key, chain, os.fspath(certificates or path))

    def with_alternative(self, other: Identity) -> Identity:
        """This one, which as a server shows the `other` to clients that cannot check signatures of its own kind.

        Browsers know no Ed25519, and the fingerprint that pins name stays this one's.
        """
        return _value(self._pem, self.fingerprint, other._pem)

    @property
    def certificate(self) -> str:
        """Its certificates as PEM, for peers that ask for a file; nothing in it is secret."""
        return "".join(block for label, block in _blocks(self._pem) if label == "CERTIFICATE")

    def __repr__(self) -> str:
        return f"<Identity {self.fingerprint}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Identity):
            return NotImplemented
        return (self._pem, self._alternative) == (other._pem, other._alternative)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("an Identity is frozen")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("an Identity is frozen")

    def __copy__(self) -> Identity:
        return self

    def __deepcopy__(self, memo: object) -> Identity:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("an Identity cannot be pickled, it holds a private key: pass the path of its file")


def user_file() -> str:
    """Where this user's identity is kept, whether it has been made or not."""
    return home.file("identity.pem")


def existing() -> Identity | None:
    """This user's own, or None if he has none yet: then there is no peer that has it, either."""
    path = user_file()
    data = kept_file.read(path, private=True)
    return None if data is None else _made(path, data, data)


def renew() -> Identity:
    """Give this user a new identity; the old file stays beside it as `identity.pem.old`."""
    path = user_file()
    home.prepare(path)
    with kept_file.locked(path):
        old = kept_file.read(path, private=True)
        if old is not None:
            kept_file.replace(f"{path}.old", old)
        data = _core.make_identity(certificate_names())
        kept_file.replace(path, data)
    return _made(path, data, data)


def _required(path: str | os.PathLike[str], *, private: bool) -> bytes:
    # Whose file it is does not matter here: the caller names it, and a service's key often belongs to root.
    data = kept_file.read(os.fspath(path), private=private, own=False)
    if data is None:
        raise IdentityError(f"{os.fspath(path)}: no such file")
    return data


def _made(path: str, key: bytes, chain: bytes, chain_path: str | None = None) -> Identity:
    pem = _key(path, key) + _chain(chain_path or path, chain)
    try:
        fingerprint = _core.certificate_fingerprint(pem)
    except ValueError as failure:
        raise IdentityError(f"{chain_path or path}: the certificate cannot be read: {failure}") from None
    return _value(pem, fingerprint)


def _value(pem: bytes, fingerprint: str, alternative: bytes | None = None) -> Identity:
    value = object.__new__(Identity)
    object.__setattr__(value, "_pem", pem)
    object.__setattr__(value, "_alternative", alternative)
    object.__setattr__(value, "fingerprint", fingerprint)
    return value


def of_pem(path: str, pem: bytes) -> Identity:
    """The identity of a key and its chain that were read from `path`, or made for it. Raises IdentityError."""
    return _made(path, pem, pem)


def _key(path: str, data: bytes) -> bytes:
    """The one private key in it. Errors say what is there instead, and show nothing of it."""
    found = [(label, block) for label, block in _blocks(data) if label.endswith("PRIVATE KEY")]
    if len(found) != 1:
        remedy = "keep the one that belongs to the certificate" if found else "`socketkit identity new` makes one"
        raise IdentityError(f"{path} holds {'more than one' if found else 'no'} private key: {remedy}")
    label, block = found[0]
    if "ENCRYPTED" in block:
        raise IdentityError(f"the key in {path} is encrypted: take off the pass phrase with `openssl pkey`")
    if label not in ("PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY") or not _is_der(block):
        raise IdentityError(f"{path} holds no key of X.509 (PKCS #8): `socketkit identity new` makes one")
    return block.encode()


def _chain(path: str, data: bytes) -> bytes:
    found = [block for label, block in _blocks(data) if label == "CERTIFICATE"]
    if not found:
        raise IdentityError(f"{path} holds no certificate: name its file, too, in Identity.load(path, certificates)")
    return "".join(found).encode()


def _blocks(data: bytes) -> list[tuple[str, str]]:
    """The parts of a PEM file (RFC 7468), each by its label; other text may stand between them."""
    found = []
    text = data.decode("ascii", "replace").replace("\r\n", "\n")
    at = 0
    while (start := text.find(_BEGIN, at)) >= 0:
        mark = text.find("-----\n", start + len(_BEGIN))
        label = text[start + len(_BEGIN) : mark]
        ending = f"-----END {label}-----"
        stop = text.find(ending, mark)
        if mark < 0 or stop < 0:
            break
        at = stop + len(ending)
        found.append((label, f"{text[start:at]}\n"))
    return found


def _is_der(block: str) -> bool:
    from binascii import Error, a2b_base64

    try:
        body = "".join(block.strip().split("\n")[1:-1])
        return a2b_base64(body, strict_mode=True)[:1] == b"\x30"
    except (Error, ValueError):
        return False


def certificate_names() -> list[str]:
    """What its certificate is valid for, to clients that look at names; the fingerprint says more."""
    from _socket import gethostname

    names = ["localhost", "127.0.0.1", "::1"]
    host = gethostname().rstrip(".").lower()
    try:
        host_name(host)
    except Misfit:
        return names
    labels = host.split(".")
    plain = all(label.replace("-", "").isalnum() and label.strip("-") == label for label in labels)
    return [*names, host] if plain and host not in names and not ip_address(host) else names


_BEGIN = "-----BEGIN "
