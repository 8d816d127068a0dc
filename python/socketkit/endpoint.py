"""The address that opens a socket, as a frozen value: `[modifier+]carrier://host[:port]/path?name=value&...`

The grammar (grammar.py) is strict, so that one address means one thing in Python, on the command line, in the monitor
and in logs.

Equality: two endpoints are equal if they say the same in the same words. Scheme, IP addresses, modes, numbers and the
order of parameters are brought to one spelling when they are read. Host names keep the spelling that they came in, and
compare without case, as the DNS does; Unix paths, `mem` names and interfaces compare byte by byte. Nothing is resolved:
`localhost` and `127.0.0.1` differ.
"""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, final

from . import grammar
from .schemes import SCHEMES, Scheme, ip_address

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import EllipsisType
    from typing import Any, NoReturn


@final
class Endpoint:
    """Where a socket is or goes: frozen, hashable, and valid however it was made.

    `host` is None if none was written, and has no brackets if it is IPv6 (`fe80::1%eth0`). It also holds the context id
    of vsock, the radio address of Bluetooth, the interface of raw+ethernet, the name of mem, the number or name of fd.
    `path` is a Unix socket's: absolute, or `@name` for an abstract one; bytes that are not UTF-8 are in it as
    `os.fsdecode` has them.
    """

    __slots__ = ("_hash", "_parameters", "_text", "host", "path", "port", "scheme")

    scheme: str
    host: str | None
    port: int | None
    path: str | None
    _parameters: tuple[tuple[str, str], ...]
    _text: str
    _hash: int

    def __new__(
        cls,
        *,
        scheme: str,
        host: str | None = None,
        port: int | None = None,
        path: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Endpoint:
        """The endpoint with these fields, checked as its text would be; raises EndpointError."""
        text = grammar.write(scheme, host or None, port, path or None, (query or {}).items())
        value = _made(*grammar.read(text))
        same_scheme, same_host, same_path = (
            value.scheme == scheme.lower(),
            (value.host is None) == (not host),
            (value.path is None) == (not path),
        )
        if not (same_scheme and same_host and same_path):  # a field held the delimiters of another one
            raise grammar.fault(text, 0, f"these fields make no address of {value.scheme}")
        return value

    @staticmethod
    def parse(text: str | Endpoint) -> Endpoint:
        """The endpoint that `text` writes; an Endpoint is returned as it is. Raises EndpointError."""
        if isinstance(text, Endpoint):
            return text
        if not isinstance(text, str):
            raise TypeError(f"an address is a str or an Endpoint, not {type(text).__name__}")
        return _made(*grammar.read(text))

    if TYPE_CHECKING:  # bound below, behind a cache that costs no Python frame

        @staticmethod
        def from_sockaddr(scheme: str, sockaddr: tuple[Any, ...] | str | bytes | int | None) -> Endpoint: ...

    def replace(
        self,
        *,
        scheme: str | EllipsisType = ...,
        host: str | EllipsisType | None = ...,
        port: int | EllipsisType | None = ...,
        path: str | EllipsisType | None = ...,
        query: Mapping[str, str] | EllipsisType | None = ...,
    ) -> Endpoint:
        """This endpoint with other fields; None takes a field away. Raises EndpointError."""
        return Endpoint(
            scheme=self.scheme if scheme is ... else scheme,
            host=self.host if host is ... else host,
            port=self.port if port is ... else port,
            path=self.path if path is ... else path,
            query=dict(self._parameters) if query is ... else query,
        )

    @property
    def carrier(self) -> str:
        """What the bytes travel on: `tls` of `seqpacket+tls`, `ip` of `raw+ip`."""
        return self.scheme.rpartition("+")[2]

    @property
    def modifiers(self) -> tuple[str, ...]:
        return tuple(self.scheme.split("+")[:-1])

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters by name, decoded and in their canonical spelling; read-only."""
        return MappingProxyType(dict(self._parameters)) if self._parameters else _NO_PARAMETERS

    @property
    def is_loopback(self) -> bool:
        """Whether nothing sent there can leave this machine, judged by the address alone.

        `localhost` counts; another name does not, whatever it resolves to. `fd` counts, although it tells nothing about
        the socket that is inherited: judge that by the `local` endpoint of what it opens.
        """
        kind = SCHEMES[self.scheme]
        if kind.local or self.host is None:
            return True
        if kind.form == "host":
            host = self.host.partition("%")[0].removeprefix("::ffff:").lower()
            return host in ("localhost", "localhost.", "::1") or (host[:4] == "127." and ip_address(host) is not None)
        return (kind.form, self.host) in (("cid", "1"), ("interface", "lo"))

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every interface: `*`, or the unspecified address (`0.0.0.0`, `[::]`)."""
        if self.host in ("0.0.0.0", "::", "::ffff:0.0.0.0"):
            return SCHEMES[self.scheme].form == "host"
        return self.host == "*"

    def __str__(self) -> str:
        try:
            return self._text
        except AttributeError:
            text = grammar.write(self.scheme, self.host, self.port, self.path, self._parameters)
            _set(self, "_text", text)
            return text

    def __repr__(self) -> str:
        return f"Endpoint({str(self)!r})"

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            number = hash(self._identity())
            _set(self, "_hash", number)
            return number

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Endpoint):
            return NotImplemented
        if self.port != other.port or self.scheme != other.scheme or self.path != other.path:
            return False
        return self._parameters == other._parameters and (
            self.host == other.host or self._identity() == other._identity()
        )

    def _identity(self) -> tuple[object, ...]:
        host = self.host
        if host is not None and "%" not in host and SCHEMES[self.scheme].form == "host":
            host = host.lower()
        return self.scheme, host, self.port, self.path, self._parameters

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an Endpoint is frozen: use replace({name}=...)")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("an Endpoint is frozen")

    def __copy__(self) -> Endpoint:
        return self

    def __deepcopy__(self, memo: object) -> Endpoint:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return _made, (self.scheme, self.host, self.port, self.path, self._parameters)


def _made(
    scheme: str, host: str | None, port: int | None, path: str | None, parameters: tuple[tuple[str, str], ...]
) -> Endpoint:
    """An endpoint of fields that are known to be valid and canonical."""
    value = object.__new__(Endpoint)
    _set(value, "scheme", scheme)
    _set(value, "host", host)
    _set(value, "port", port)
    _set(value, "path", path)
    _set(value, "_parameters", parameters)
    return value


_set = object.__setattr__
_NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})


def _from_sockaddr(scheme: str, sockaddr: Any) -> Endpoint:
    """The endpoint of an address as the kernel, Python's `socket` or the engine give it; cached by its value.

    `(host, port[, flow, scope])` for IP, str or bytes for Unix (a leading NUL = abstract, empty or None = unnamed), a
    name for mem, a number for fd, and what `socket` documents for packet, vsock and Bluetooth sockets. An IPv4 peer of
    a dual-stack socket is an IPv4 address.

    The kernel knows addresses that nobody can connect to. They print, compare and pickle like others, but `parse`
    refuses them: a Unix socket without a name (`unix://`), with an empty abstract one, a relative path
    (`unix://./name`) or one of 108 bytes; and a peer of `raw+ip`, whose protocol the address does not tell.
    """
    kind = SCHEMES.get(scheme)
    if kind is None:
        return Endpoint(scheme=scheme)  # raises
    if kind.form == "host":
        return _from_ip(kind, *sockaddr)
    if kind.form == "path":
        return _made(kind.name, None, None, _kernel_path(sockaddr), ())
    if kind.form == "interface":
        name, protocol = sockaddr[:2]
        return Endpoint(scheme=scheme, host=name or "*", query={"proto": f"0x{protocol:04x}"} if protocol else None)
    if kind.form in ("name", "descriptor"):
        return Endpoint(scheme=scheme, host=str(sockaddr))
    host, port = sockaddr[:2]
    if kind.form == "cid":
        anything = (-1, 2**32 - 1)  # VMADDR_CID_ANY and VMADDR_PORT_ANY, with and without the sign
        host, port = "*" if host in anything else str(host), 0 if port in anything else port
    return Endpoint(scheme=scheme, host=host.replace(":", "-"), port=port)


def _from_ip(kind: Scheme, host: str, port: int, _flow: int = 0, scope: int = 0) -> Endpoint:
    written, _, zone = host.partition("%")
    address = ip_address(written)
    if address is None or not 0 <= port <= 65535:
        return Endpoint(scheme=kind.name, host=host or "*", port=port if kind.port_word else None)
    if ":" in address:
        if kind.family != 6 and address.startswith("::ffff:") and "." in address:
            address = address[7:]
        elif zone or scope:
            address = f"{address}%{zone or scope}"
    if kind.family is not None and (":" in address) != (kind.family == 6):
        return Endpoint(scheme=kind.name, host=address, port=port)  # raises
    if kind.port_word is not None:
        return _made(kind.name, address, port, None, ())
    # Linux has the protocol where others have the port in a raw socket's own name, and 0 in its peers' (inet_create).
    return _made(kind.name, address, None, None, (("proto", str(port)),) if port and kind.required else ())


def _kernel_path(sockaddr: str | bytes | None) -> str:
    name = sockaddr.encode("utf-8", "surrogateescape") if isinstance(sockaddr, str) else bytes(sockaddr or b"")
    if name[:1] == b"\0":
        return "@" + name[1:].decode("utf-8", "surrogateescape")
    path = name.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    # Spelt so that a relative path which begins with @ cannot pass for an abstract name.
    return path if path[:1] in ("/", "") else f"./{path.removeprefix('./')}"


if not TYPE_CHECKING:
    # Bounded: spoofed peers push others out of the cache, but cannot make it grow.
    Endpoint.from_sockaddr = staticmethod(lru_cache(maxsize=4096)(_from_sockaddr))
