"""The files that say how this machine is set up: sysctls, counters, programs, hosts, proxies, authorities.

Each is read on its own: what is not there, or not for this user, is left out, and where that hides something it is
said. Parsers take text, so that they need no machine.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .view import EXPOSED, HostsLine, Program, UnixPlace, is_local

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .._core import SocketEntry
    from ..inspect.processes import Process


BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


def read(entries: Sequence[SocketEntry], unknown: list[str]) -> dict[str, Any]:
    """The fields of a `View` that come from files; what cannot be known is added to `unknown`."""
    processes = list(holders(entries))
    packages = package_files()
    if packages is None:
        unknown.append("which programs came in packages: dpkg has no list here")
    return {
        "namespace": os.stat("/proc/thread-self/ns/net").st_ino,
        "sysctls": sysctls(),
        "counters": counters(_text("/proc/thread-self/net/netstat")),
        "programs": programs(processes, packages or {}),
        "packages_known": packages is not None,
        "descriptors": descriptors(processes),
        "unix_places": dict(unix_places(entries)),
        "hosts": hosts(_text("/etc/hosts", LONGEST)),
        "own_names": own_names(),
        "proxies": proxies(),
        "resolvers": resolvers(_text("/etc/resolv.conf")),
        "authorities": authorities(),
        "known_peers": known_peers(unknown),
    }


def holders(entries: Iterable[SocketEntry]) -> Iterator[Process]:
    """The processes whose sockets have to do with other machines, or wait for others; each once."""
    seen: set[int] = set()
    for entry in entries:
        if entry.scheme.startswith("unix") or "+unix" in entry.scheme:
            continue
        if entry.state == "listening" or entry.exposure in EXPOSED or not is_local(entry):
            for process in entry.processes or ():
                if process.pid not in seen:
                    seen.add(process.pid)
                    yield process


# --- the kernel's


def sysctls() -> dict[str, str]:
    """Those of the settings of the network that a finder asks for, in this network namespace."""
    found: dict[str, str] = {}
    root = Path("/proc/sys")
    for name in SETTINGS:
        text = _text(root / name.replace(".", "/"))
        if text:
            found[name] = " ".join(text.split())
    for family, names in OF_INTERFACES.items():
        for folder in sorted((root / "net" / family / "conf").glob("*")):
            for name in names:
                if text := _text(folder / name):
                    found[f"net.{family}.conf.{folder.name}.{name}"] = text.strip()
    return found


def counters(text: str) -> dict[str, int]:
    """Of /proc/net/netstat: a line of names, then one of their numbers."""
    found: dict[str, int] = {}
    lines = text.splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        group = names.partition(":")[0]
        for name, value in zip(names.split()[1:], values.split()[1:], strict=False):
            if value.lstrip("-").isdecimal():
                found[f"{group}.{name}"] = int(value)
    return found


# --- programs


def programs(processes: Iterable[Process], packages: Mapping[str, str]) -> dict[str, Program]:
    found: dict[str, Program] = {}
    for process in processes:
        path = process.executable
        if path is not None and path not in found:
            found[path] = Program(path, os.path.exists(path), package_of(path, packages))
    return found


def package_of(path: str, packages: Mapping[str, str]) -> str | None:
    """The package that a file came in. /bin is /usr/bin by now, but packages may name either."""
    other = path.removeprefix("/usr") if path.startswith("/usr/") else f"/usr{path}"
    return packages.get(path) or packages.get(other) or packages.get(os.path.realpath(path))


def package_files(folder: str = "/var/lib/dpkg/info") -> Mapping[str, str] | None:
    """Which package each program came in: the lists of dpkg. None where there are none."""
    try:
        return _package_files(folder, os.stat(folder).st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=1)
def _package_files(folder: str, changed_ns: int) -> Mapping[str, str]:
    """Read once for as long as no package comes or goes: there are thousands of lists."""
    found: dict[str, str] = {}
    for path in (entry.path for entry in os.scandir(folder) if entry.name.endswith(".list")):
        package = os.path.basename(path).removesuffix(".list").partition(":")[0]
        for line in _text(path, LONGEST).splitlines():
            if line.startswith(PROGRAM_FOLDERS):
                found[line] = package
    return found


def descriptors(processes: Iterable[Process]) -> dict[int, tuple[int, int]]:
    """How many descriptors each has open, and how many it may have."""
    found = {}
    for process in processes:
        limit = descriptor_limit(_text(f"/proc/{process.pid}/limits"))
        with suppress(OSError):  # it ended, or it is another user's
            if limit is not None:
                found[process.pid] = (len(os.listdir(f"/proc/{process.pid}/fd")), limit)
    return found


def descriptor_limit(text: str) -> int | None:
    """The soft limit, which is the one that counts."""
    for line in text.splitlines():
        if line.startswith("Max open files"):
            word = line.split()[3]
            return int(word) if word.isdecimal() else None
    return None


# --- Unix sockets


def unix_places(entries: Iterable[SocketEntry]) -> Iterator[tuple[int, UnixPlace]]:
    from .neighbours import unix_files

    made: dict[int, int] | None = None
    for entry in entries:
        path = entry.local.path if entry.local is not None and entry.state == "listening" else None
        if path is None or not path.startswith("/") or entry.namespace_name:
            continue
        if made is None:
            made = unix_files()
        inode, mode = None, 0
        with suppress(OSError):
            status = os.lstat(path)
            inode, mode = status.st_ino, stat.S_IMODE(status.st_mode)
        folder, sticky = open_folder(path)
        yield entry.inode, UnixPlace(inode, made.get(entry.inode), mode, folder, sticky)


def open_folder(path: str) -> tuple[str | None, bool]:
    """The folder on the way to a file into which everybody may write, one without the sticky bit first."""
    sticky = None
    for folder in Path(path).parents:
        with suppress(OSError):
            mode = folder.stat().st_mode
            if mode & stat.S_IWOTH:
                if not mode & stat.S_ISVTX:
                    return str(folder), False
                # Below a sticky folder, in one of its own, nobody else can put anything.
                if folder == Path(path).parent:
                    sticky = str(folder)
    return sticky, sticky is not None


# --- names, proxies, authorities


def hosts(text: str) -> list[HostsLine]:
    found = []
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        found += [HostsLine(name.lower(), address) for name in names]
    return found


def own_names() -> frozenset[str]:
    import socket

    name = socket.gethostname().lower()
    return frozenset({name, name.partition(".")[0]})


def resolvers(text: str) -> list[str]:
    return [words[1] for words in map(str.split, text.splitlines()) if len(words) > 1 and words[0] == "nameserver"]


def proxies() -> dict[str, str]:
    """Through whom this user's programs, every login's and apt are told to go."""
    found = {
        f"environment {name}": value for name, value in os.environ.items() if name.lower() in PROXY_NAMES and value
    }
    for path in (Path("/etc/environment"), Path("/etc/profile"), *sorted(Path("/etc/profile.d").glob("*.sh"))):
        found.update(proxy_lines(str(path), _text(path)))
    for path in (Path("/etc/apt/apt.conf"), *sorted(Path("/etc/apt/apt.conf.d").glob("*"))):
        found.update(apt_proxies(str(path), _text(path)))
    return found


def proxy_lines(path: str, text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        name, sign, value = line.strip().removeprefix("export ").partition("=")
        if sign and name.strip().lower() in PROXY_NAMES and value.strip("\"' "):
            found[f"{path} {name.strip()}"] = value.strip("\"' ")
    return found


def apt_proxies(path: str, text: str) -> dict[str, str]:
    """`Acquire::http::Proxy "http://...";`, also in blocks, for single hosts, and programs that name one."""
    found = {}
    for name, value in apt_settings(text):
        first, *others = name.lower().split("::")
        if first == "acquire" and APT_PROXY_NAMES.intersection(others) and value not in ("", "DIRECT", "false"):
            found[f"{path} {name}"] = value
    return found


def apt_settings(text: str) -> Iterator[tuple[str, str]]:
    """The settings of a file for apt, in which braces stand for the first part of names (man 5 apt.conf)."""
    import re

    around: list[str] = []
    word = ""
    for comment, value, sign, name in re.findall(APT_TOKEN, text):
        if comment:
            continue
        if value:
            yield "::".join(filter(None, (*around, word))), value[1:-1]
        elif sign == "{":
            around.append(word)
        elif sign == "}" and around:
            around.pop()
        word = name


def authorities(bundle: str = BUNDLE, folder: str = "/etc/ssl/certs") -> dict[str, str] | None:
    """The root certificates that programs of this machine trust: SHA-256 -> name. None where there is no list.

    Most read the bundle. OpenSSL looks in the folder, too, for files that are called after what they are for: one that
    is not in the bundle has its file in its name.
    """
    path = next((path for path in (bundle, *BUNDLES) if os.path.isfile(path)), None)
    found: dict[str, str] = {}
    if path is not None:
        _add_certificates(found, path)
    hashed = [name for name in _names(folder) if name[8:9] == "." and name[9:].isdecimal()]
    for name in hashed:
        _add_certificates(found, f"{folder}/{name}", f" in {folder}/{name}")
    return found if path is not None or hashed else None


def _add_certificates(found: dict[str, str], path: str, where: str = "") -> None:
    """Those of a file that are not in `found` yet; `where` stands behind their names."""
    from hashlib import sha256
    from ssl import PEM_cert_to_DER_cert

    from ..inspect.certificates import read as certificate

    for block in _text(path, LONGEST).split(END_CERTIFICATE)[:-1]:
        with suppress(ValueError):
            der = PEM_cert_to_DER_cert(block[block.index(BEGIN_CERTIFICATE) :] + END_CERTIFICATE)
            digest = sha256(der).hexdigest()
            if der and digest not in found:
                found[digest] = (certificate(der).subject or "without a name") + where


def _names(folder: str) -> list[str]:
    with suppress(OSError):
        return sorted(os.listdir(folder))
    return []


def known_peers(unknown: list[str]) -> list[Any]:
    from ..errors import IdentityError
    from ..known_peers import KnownPeers

    try:
        return list(KnownPeers().entries())
    except IdentityError as failure:
        unknown.append(f"whose keys are known: {failure}")
        return []


def _text(path: str | Path, most: int = 65_536) -> str:
    # Not more at once without need: a sysctl that is asked for megabytes answers ENOMEM.
    with suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read(most)
    return ""


LONGEST = 16 * 1_048_576
SETTINGS = (
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_challenge_ack_limit",
    "net.core.somaxconn",
    "net.ipv4.ip_forward",
)
OF_INTERFACES = {
    "ipv4": ("accept_redirects", "secure_redirects", "accept_source_route", "forwarding", "shared_media"),
    "ipv6": ("accept_redirects", "accept_source_route", "forwarding"),
}
PROGRAM_FOLDERS = ("/usr/", "/bin/", "/sbin/", "/lib/", "/opt/")
APT_PROXY_NAMES = {"proxy", "proxy-auto-detect", "proxyautodetect"}
APT_TOKEN = r"""(//.*|\#.*|/\*[^*]*(?:\*(?!/)[^*]*)*\*/)|("[^"\n]*")|([{};])|([^\s"{};]+)"""
PROXY_NAMES = ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "socks_proxy")
BUNDLES = ("/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem")
BEGIN_CERTIFICATE, END_CERTIFICATE = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
