"""Endpoint, its grammar and its table: what parses, what it means, and where the caret stands when it does not."""

from __future__ import annotations

import copy
import ipaddress
import pickle
import socket
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from socketkit import _core
from socketkit.endpoint import Endpoint
from socketkit.errors import EndpointError
from socketkit.schemes import SCHEMES

PIN = _core.fingerprint_text(b"a peer's key, hashed to 32 bytes")

# --- endpoints of every scheme, for properties

labels = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=20).filter(
    lambda label: not label.isdigit() and label[:2].lower() != "0x"
)
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
ipv4 = st.ip_addresses(v=4).map(str)
ipv6 = st.ip_addresses(v=6).map(str)
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
interfaces = text.filter(
    lambda name: (
        len(name.encode()) <= 15
        and name not in (".", "..")
        and not any(char in "/:*" or char.isspace() for char in name)
    )
)
paths = st.binary(max_size=106).map(lambda tail: "/" + tail.replace(b"\0", b"x").decode("utf-8", "surrogateescape"))
abstract = st.binary(min_size=1, max_size=107).map(lambda name: "@" + name.decode("utf-8", "surrogateescape"))
radios = st.binary(min_size=6, max_size=6).filter(any).map(lambda address: address.hex("-"))
VALUES = {
    "ca": text.map(lambda name: f"/{name}"),
    "key": text.map(lambda name: f"/{name}"),
    "pin": st.binary(min_size=32, max_size=32).map(_core.fingerprint_text),
    "sni": names,
    "trust": st.sampled_from(["system", "first_use", "danger_anyone"]),
    "alpn": st.lists(text.filter(lambda name: "," not in name), min_size=1, max_size=3).map(",".join),
    "mode": st.integers(0, 0o777).map(lambda mode: f"{mode:04o}"),
    "plaintext": st.just("yes"),
    "public": st.just("yes"),
    "uid": st.one_of(st.integers(0, 2**32 - 2).map(str), labels.filter(lambda label: not label.startswith("-"))),
    "interface": interfaces,
    "hops": st.integers(1, 255).map(str),
    "fragment": st.just("no"),
    "loop": st.just("no"),
    "broadcast": st.just("yes"),
    "share": st.just("yes"),
    "header": st.just("yes"),
    "promiscuous": st.just("yes"),
    "filter": text.filter(lambda words: words.isprintable() and words.strip() != ""),
    "snap": st.integers(1, 262_144).map(str),
}


def hosts(form: str, family: int | None) -> st.SearchStrategy[str | None]:
    """What may stand in the place of the host; None = nothing."""
    if form == "host":
        zoned = st.tuples(ipv6, interfaces).map("%".join)
        addresses = {None: st.one_of(ipv4, ipv6, zoned), 4: ipv4, 6: st.one_of(ipv6, zoned)}[family]
        return st.one_of(st.none(), st.just("*"), names, addresses)
    if form == "interface":
        return st.one_of(st.none(), st.just("*"), interfaces)
    if form == "cid":
        return st.one_of(st.none(), st.just("*"), st.integers(0, 2**32 - 2).map(str))
    if form == "radio":
        return st.one_of(st.just("*"), radios)
    if form == "name":
        return st.one_of(st.none(), text.filter(lambda name: "*" not in name and len(name.encode()) <= 255))
    if form == "descriptor":
        named = st.text(string.ascii_letters + "-._@/ %", min_size=1, max_size=255)
        return st.one_of(st.integers(0, 2**31 - 1).map(str), named)
    return st.none()


@st.composite
def endpoints(draw: st.DrawFn) -> Endpoint:
    kind = SCHEMES[draw(st.sampled_from(sorted(SCHEMES)))]
    allowed = [name for name in kind.parameters if name != "proto"]
    chosen = draw(st.sets(st.sampled_from(allowed))) if allowed else set()
    if len(chosen & {"ca", "pin", "trust"}) > 1:
        chosen -= {"ca", "pin"}
    query = {name: draw(VALUES[name]) for name in chosen}
    if kind.name == "raw+ip":
        query["proto"] = str(draw(st.integers(1, 255)))
    elif "proto" in kind.parameters and draw(st.booleans()):
        query["proto"] = f"0x{draw(st.integers(0, 65535)):04x}"
    return Endpoint(
        scheme=kind.name,
        host=draw(hosts(kind.form, kind.family)),
        port=draw(st.integers(0, kind.port_limit)) if kind.port_word else None,
        path=draw(st.one_of(paths, abstract)) if kind.form == "path" else None,
        query=query,
    )


@pytest.mark.slow
@given(endpoints())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_text_round_trip(endpoint: Endpoint) -> None:
    text = str(endpoint)
    again = Endpoint.parse(text)
    assert again == endpoint
    assert hash(again) == hash(endpoint)
    assert str(again) == text
    assert text.isprintable() and " " not in text
    fields = (endpoint.scheme, endpoint.host, endpoint.port, endpoint.path, endpoint.query)
    assert (again.scheme, again.host, again.port, again.path, again.query) == fields
    assert endpoint.replace() == endpoint
    assert pickle.loads(pickle.dumps(endpoint)) == endpoint


def near_misses() -> st.SearchStrategy[str]:
    pieces = [
        *(f"{scheme}://" for scheme in SCHEMES),
        *(
            "[",
            "]",
            "[::1]",
            "%25",
            "%",
            "%zz",
            ":",
            "80",
            "65536",
            "@",
            "/",
            "?",
            "#",
            "&",
            "=",
            "*",
            "ca=/x",
            "pin=",
            "x",
        ),
        *(
            "proto=6",
            "mode=600",
            "user:secret@",
            "aa-bb-cc-dd-ee-ff",
            " ",
            "\n",
            "\0",
            "é",
            "²",
            "\ud800",
            "\udcff",
            "€",
        ),
        *("1.2.3.4", "127.1", "localhost", "..", "trust=system", "alpn=,", "key=abc", "9" * 5000),
    ]
    return st.lists(st.one_of(st.sampled_from(pieces), st.text(max_size=3)), max_size=8).map("".join)


@pytest.mark.slow
@given(st.one_of(near_misses(), st.text()))
@settings(max_examples=500, deadline=None)
def test_any_text_parses_or_has_a_caret(text: str) -> None:
    try:
        endpoint = Endpoint.parse(text)
    except EndpointError as error:
        assert 0 <= error.at <= len(error.text)
        assert error.reason
        if "***" not in error.text:
            assert error.text == text
    else:
        assert Endpoint.parse(str(endpoint)) == endpoint


@pytest.mark.slow
@given(
    scheme=st.one_of(st.sampled_from(sorted(SCHEMES)), st.text(max_size=8)),
    host=st.one_of(st.none(), st.text(max_size=12), near_misses()),
    port=st.one_of(st.none(), st.integers()),
    path=st.one_of(st.none(), st.text(max_size=12), near_misses()),
    query=st.dictionaries(st.sampled_from(["ca", "mode", "proto", "a&b=c", ""]), st.text(max_size=5), max_size=2),
)
@settings(max_examples=300, deadline=None)
def test_any_fields_make_a_valid_endpoint_or_an_error(
    scheme: str, host: str | None, port: int | None, path: str | None, query: dict[str, str]
) -> None:
    try:
        endpoint = Endpoint(scheme=scheme, host=host, port=port, path=path, query=query)
    except EndpointError as error:
        assert 0 <= error.at <= len(error.text)
    else:
        assert Endpoint.parse(str(endpoint)) == endpoint
        assert (endpoint.host is None, endpoint.port, endpoint.path is None) == (not host, port, not path)


@given(st.one_of(st.ip_addresses(v=6), st.ip_addresses(v=4)))
def test_ip_addresses_have_one_spelling(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Peer: the standard library's ipaddress, which compares by value."""
    long = f"[{address.exploded.upper()}]" if address.version == 6 else str(address)
    endpoint = Endpoint.parse(f"tcp://{long}:80")
    assert endpoint.host is not None
    assert ipaddress.ip_address(endpoint.host) == address
    assert endpoint == Endpoint.parse(str(endpoint))
    assert Endpoint.from_sockaddr(f"tcp{address.version}", (str(address), 80)).host == endpoint.host


# --- what parses, and what it means


@pytest.mark.parametrize(
    ("written", "fields", "canonical"),
    [
        ("tcp://localhost:80", ("tcp", "localhost", 80, None, {}), None),
        ("TCP://LocalHost:0080", ("tcp", "LocalHost", 80, None, {}), "tcp://LocalHost:80"),
        ("tcp://:0", ("tcp", None, 0, None, {}), None),
        ("tcp://*:65535", ("tcp", "*", 65535, None, {}), None),
        ("tcp://example.org.:80", ("tcp", "example.org.", 80, None, {}), None),
        ("tcp4://192.0.2.1:80", ("tcp4", "192.0.2.1", 80, None, {}), None),
        ("tcp6://[0:0::1]:80", ("tcp6", "::1", 80, None, {}), "tcp6://[::1]:80"),
        ("tcp://[FE80::1%25eth0]:80", ("tcp", "fe80::1%eth0", 80, None, {}), "tcp://[fe80::1%25eth0]:80"),
        (f"tls://h:443?pin={PIN.upper()}", ("tls", "h", 443, None, {"pin": PIN}), f"tls://h:443?pin={PIN}"),
        (f"tls://h:443?pin={PIN[:10]}-{PIN[10:]}", ("tls", "h", 443, None, {"pin": PIN}), f"tls://h:443?pin={PIN}"),
        (
            "quic://h:443?trust=system&alpn=h3,x%26y",
            ("quic", "h", 443, None, {"alpn": "h3,x&y", "trust": "system"}),
            "quic://h:443?alpn=h3,x%26y&trust=system",
        ),
        ("udp4://239.1.2.3:5000?interface=eth0", ("udp4", "239.1.2.3", 5000, None, {"interface": "eth0"}), None),
        ("udp6://[ff02::1]:5000", ("udp6", "ff02::1", 5000, None, {}), None),
        ("sctp://h:1", ("sctp", "h", 1, None, {}), None),
        ("icmp://example.org", ("icmp", "example.org", None, None, {}), None),
        ("icmp://[::1]", ("icmp", "::1", None, None, {}), None),
        ("raw+ip://h?proto=OSPF", ("raw+ip", "h", None, None, {"proto": "89"}), "raw+ip://h?proto=89"),
        (
            "raw+ethernet://eth0?proto=arp",
            ("raw+ethernet", "eth0", None, None, {"proto": "0x0806"}),
            "raw+ethernet://eth0?proto=0x0806",
        ),
        ("raw+ethernet://", ("raw+ethernet", None, None, None, {}), None),
        ("unix:///run/a%20b@c:d", ("unix", None, None, "/run/a b@c:d", {}), None),
        ("unix:///tmp/ö%FF", ("unix", None, None, "/tmp/ö\udcff", {}), None),
        ("unix://@a%00b", ("unix", None, None, "@a\0b", {}), None),
        ("unix:///x?mode=660", ("unix", None, None, "/x", {"mode": "0660"}), "unix:///x?mode=0660"),
        ("tls+unix:///x?sni=h", ("tls+unix", None, None, "/x", {"sni": "h"}), None),
        ("seqpacket+unix://@x", ("seqpacket+unix", None, None, "@x", {}), None),
        ("dgram+unix:///x", ("dgram+unix", None, None, "/x", {}), None),
        ("seqpacket+tls://h:1?key=/k", ("seqpacket+tls", "h", 1, None, {"key": "/k"}), None),
        ("seqpacket+tcp://h:1", ("seqpacket+tcp", "h", 1, None, {}), None),
        ("vsock://02:5000", ("vsock", "2", 5000, None, {}), "vsock://2:5000"),
        ("seqpacket+vsock://*:1", ("seqpacket+vsock", "*", 1, None, {}), None),
        (
            "bt-rfcomm://AA-BB-CC-DD-EE-FF:3",
            ("bt-rfcomm", "aa-bb-cc-dd-ee-ff", 3, None, {}),
            "bt-rfcomm://aa-bb-cc-dd-ee-ff:3",
        ),
        ("bt-l2cap://00-00-00-00-00-00:25", ("bt-l2cap", "*", 25, None, {}), "bt-l2cap://*:25"),
        ("mem://", ("mem", None, None, None, {}), None),
        ("mem://a%2Fb", ("mem", "a/b", None, None, {}), None),
        ("fd://03", ("fd", "3", None, None, {}), "fd://3"),
        ("tcp://*:1?plaintext=yes", ("tcp", "*", 1, None, {"plaintext": "yes"}), None),
        ("tcp4://h:1?plaintext=yes", ("tcp4", "h", 1, None, {"plaintext": "yes"}), None),
        ("tcp6://h:1?plaintext=yes", ("tcp6", "h", 1, None, {"plaintext": "yes"}), None),
        ("seqpacket+tcp://h:1?plaintext=yes", ("seqpacket+tcp", "h", 1, None, {"plaintext": "yes"}), None),
        ("tls://*:1?public=yes", ("tls", "*", 1, None, {"public": "yes"}), None),
        ("seqpacket+tls://*:1?public=yes", ("seqpacket+tls", "*", 1, None, {"public": "yes"}), None),
        ("fd://3?plaintext=yes", ("fd", "3", None, None, {"plaintext": "yes"}), None),
        ("fd://web?public=yes", ("fd", "web", None, None, {"public": "yes"}), None),
        ("unix:///x?uid=0070", ("unix", None, None, "/x", {"uid": "70"}), "unix:///x?uid=70"),
        ("unix://@x?uid=postgres", ("unix", None, None, "@x", {"uid": "postgres"}), None),
        ("seqpacket+unix:///x?uid=a%20b\\c", ("seqpacket+unix", None, None, "/x", {"uid": "a b\\c"}), None),
        ("dgram+unix:///x?uid=0", ("dgram+unix", None, None, "/x", {"uid": "0"}), None),
        ("tls+unix:///x?uid=a%40b", ("tls+unix", None, None, "/x", {"uid": "a@b"}), None),
        (
            "udp://*:1?broadcast=yes&fragment=no&hops=007&loop=no&plaintext=yes&share=yes",
            (
                "udp",
                "*",
                1,
                None,
                {"broadcast": "yes", "fragment": "no", "hops": "7", "loop": "no", "plaintext": "yes", "share": "yes"},
            ),
            "udp://*:1?broadcast=yes&fragment=no&hops=7&loop=no&plaintext=yes&share=yes",
        ),
        ("sctp://h:1?plaintext=yes", ("sctp", "h", 1, None, {"plaintext": "yes"}), None),
        ("icmp://h?hops=3&interface=eth0", ("icmp", "h", None, None, {"hops": "3", "interface": "eth0"}), None),
        (
            "raw+ip://h?header=yes&hops=1&proto=253",
            ("raw+ip", "h", None, None, {"header": "yes", "hops": "1", "proto": "253"}),
            None,
        ),
        (
            "raw+ethernet://eth0?filter=udp%20port%2053%20%26%20ip&promiscuous=yes&snap=0096",
            (
                "raw+ethernet",
                "eth0",
                None,
                None,
                {"filter": "udp port 53 & ip", "promiscuous": "yes", "snap": "96"},
            ),
            "raw+ethernet://eth0?filter=udp%20port%2053%20%26%20ip&promiscuous=yes&snap=96",
        ),
        ("mem://%3Ax", ("mem", ":x", None, None, {}), None),
        ("fd://web.socket", ("fd", "web.socket", None, None, {}), None),
    ],
)
def test_fields(
    written: str, fields: tuple[str, str | None, int | None, str | None, dict[str, str]], canonical: str | None
) -> None:
    endpoint = Endpoint.parse(written)
    assert (endpoint.scheme, endpoint.host, endpoint.port, endpoint.path, dict(endpoint.query)) == fields
    assert str(endpoint) == (canonical or written)
    scheme, host, port, path, query = fields
    assert Endpoint(scheme=scheme, host=host, port=port, path=path, query=query) == endpoint


def test_every_scheme_of_the_design_is_known() -> None:
    design = """tcp tcp4 tcp6 tls quic udp udp4 udp6 sctp icmp raw+ip raw+ethernet unix tls+unix seqpacket+unix
        dgram+unix seqpacket+tls seqpacket+tcp vsock seqpacket+vsock bt-rfcomm bt-l2cap mem fd"""
    assert sorted(SCHEMES) == sorted(design.split())


def test_modifiers_and_carrier() -> None:
    endpoint = Endpoint.parse("seqpacket+tls://h:1")
    assert (endpoint.modifiers, endpoint.carrier) == (("seqpacket",), "tls")
    assert (Endpoint.parse("tcp://h:1").modifiers, Endpoint.parse("tcp://h:1").carrier) == ((), "tcp")


def test_parse_returns_an_endpoint_as_it_is() -> None:
    endpoint = Endpoint.parse("tcp://h:1")
    assert Endpoint.parse(endpoint) is endpoint


def test_parse_takes_text_only() -> None:
    with pytest.raises(TypeError, match="not bytes"):
        Endpoint.parse(b"tcp://h:1")  # type: ignore[arg-type]


# --- errors: the reason, the remedy, and the caret, written under the text


def fault(written: str) -> EndpointError:
    with pytest.raises(EndpointError) as caught:
        Endpoint.parse(written)
    return caught.value


@pytest.mark.parametrize(
    ("written", "caret", "reason", "hint"),
    [
        # the scheme
        ("", "^", "the address is empty", "tcp://localhost:8080"),
        ("localhost:80", "^", "the scheme is missing", "write tcp://localhost:80"),
        ("/run/x.sock", "^", "the scheme is missing", "write unix:///run/x.sock"),
        ("@x", "^", "the scheme is missing", "write unix://@x"),
        ("hello", "^", "the scheme is missing", "write it first"),
        ("://h:80", "^", "the scheme is missing", "write tcp://h:80"),
        ("tcp:localhost:80", "   ^", "'://' is missing after tcp", "write tcp://"),
        ("tcpp://h:80", "^", "unknown scheme tcpp", "did you mean tcp?"),
        ("unix+seqpacket:///x", "^", "unknown scheme unix+seqpacket", "did you mean seqpacket+unix?"),
        ("https://h", "^", "unknown scheme https", "did you mean tls?"),
        ("gopher://h", "^", "unknown scheme gopher", "known are tcp, "),
        # characters
        ("tcp://a b:80", "       ^", "spaces and invisible", "write %20"),
        ("tcp://a:80\n", "          ^", "spaces and invisible", "write %0A"),
        ("unix:///\u200b", "        ^", "spaces and invisible", "write %E2%80%8B"),
        ("unix:///\ud800", "        ^", "spaces and invisible", "leave it out"),
        ("unix:///a#b", "         ^", "no fragment", "write %23"),
        ("unix:///a%2", "         ^", "two hexadecimal digits", "write %25"),
        ("unix:///a%20%+f", "            ^", "two hexadecimal digits", "write %25"),
        # the port
        ("tcp://h", "       ^", "the port is missing", ":PORT"),
        ("tcp://h:", "        ^", "the port is missing", ":PORT"),
        ("tcp://h?x=1", "       ^", "the port is missing", ":PORT"),
        ("tcp://h:65536", "        ^", "the port is out of range", "up to 65535"),
        (f"tcp://h:{'9' * 5000}", "        ^", "the port is out of range", "up to 65535"),
        ("tcp://h:80x", "          ^", "the port is not a number", None),
        ("tcp://h:-1", "        ^", "the port is not a number", None),
        ("tcp://h:²", "        ^", "the port is not a number", None),
        ("icmp://h:8", "        ^", "icmp has no port", "leave it out"),
        ("mem://a:b", "       ^", "mem has no port", "%3A"),
        ("tcp://h:80/x", "          ^", "tcp has no path", "leave it out"),
        ("tcp://h:80:90", "          ^", "one colon too many", None),
        # hosts
        ("tcp://user:pass@h:80", "      ^", "no user and no password", "%40"),
        ("tcp://h:80/a@b", "      ^", "no user and no password", "%40"),
        ("tls://h:80?sni=a@b", "      ^", "no user and no password", "%40"),
        ("tcp://a..b:80", "        ^", "a label of the host name is empty", "one dot"),
        ("tcp://.:80", "      ^", "a label of the host name is empty", "one dot"),
        (f"tcp://a.{'b' * 64}:80", " " * 71 + "^", "longer than 63", None),
        (f"tcp://{'a.' * 126}ab:80", " " * 259 + "^", "longer than 253", None),
        ("tcp://h%41:80", "       ^", "'%' cannot stand", "without percent-encoding"),
        ("tcp://*.h:80", "      ^", "'*' cannot stand", "every interface"),
        ("tcp://münchen.de:80", "       ^", "'ü' cannot stand", "xn--mnchen-3ya.de"),
        ("tcp://straße.de:80", "          ^", "'ß' cannot stand", "in its xn-- form"),
        ("tcp://127.1:80", "      ^", "not an IPv4 address", "four numbers"),
        ("tcp://2130706433:80", "      ^", "not an IPv4 address", "four numbers"),
        ("tcp://0x7f.1:80", "      ^", "not an IPv4 address", "four numbers"),
        ("tcp://h.0x7f:80", "      ^", "not an IPv4 address", "four numbers"),
        ("tcp://127.0.0.010:80", "      ^", "not an IPv4 address", "without leading zeros"),
        ("tcp://::1:80", "      ^", "an IPv6 address needs brackets", "write tcp://[::1]:80"),
        ("tcp://fe80::a", "      ^", "an IPv6 address needs brackets", "write tcp://[fe80::a]:PORT"),
        ("icmp://::1", "       ^", "an IPv6 address needs brackets", "write icmp://[::1]"),
        ("tcp://[::1:80", "      ^", "the bracket is not closed", "[::1]"),
        ("tcp://[::1]80", "           ^", "only a port can follow", None),
        ("tcp://[::g]:80", "         ^", "not an IPv6 address", "brackets"),
        ("tcp://[127.0.0.1]:80", "       ^", "not an IPv6 address", "only IPv6"),
        ("tcp://[]:80", "       ^", "not an IPv6 address", "only IPv6"),
        ("tcp://[fe80::1%eth0]:80", "              ^", "is written %25", "write [fe80::1%25eth0]"),
        ("tcp://[fe80::1%25]:80", "                 ^", "not an interface's name", "ip link"),
        ("tcp://[fe80::1%25a%2Fb]:80", "                 ^", "not an interface's name", "ip link"),
        ("tcp4://[::1]:80", "       ^", "tcp4 takes no IPv6 address", "use tcp6, or tcp"),
        ("udp6://127.0.0.1:80", "       ^", "udp6 takes no IPv4 address", "use udp4, or udp"),
        ("raw+ethernet://abcdefghijklmnop", " " * 30 + "^", "15 bytes", None),
        ("raw+ethernet://..", " " * 15 + "^", "not an interface's name", "ip link"),
        ("vsock://host:1", "        ^", "not a context id", "a number up to 4294967294"),
        ("vsock://4294967295:1", "        ^", "not a context id", "a number up to 4294967294"),
        ("vsock://1:4294967295", "          ^", "the port is out of range", "up to 4294967294"),
        ("bt-rfcomm://:3", " " * 12 + "^", "the Bluetooth address is missing", "write *"),
        ("bt-rfcomm://aa-bb:3", " " * 12 + "^", "not a Bluetooth address", "six pairs"),
        ("bt-rfcomm://aa:bb:cc:dd:ee:ff:3", " " * 14 + "^", "written with dashes", "aa-bb-cc-dd-ee-ff:3"),
        ("bt-l2cap://aa:bb:cc:dd:ee:ff", " " * 13 + "^", "written with dashes", "aa-bb-cc-dd-ee-ff:PSM"),
        ("bt-rfcomm://*", " " * 13 + "^", "the channel is missing", ":CHANNEL"),
        ("bt-rfcomm://*:31", " " * 14 + "^", "the channel is out of range", "up to 30"),
        ("bt-l2cap://*:65536", " " * 13 + "^", "the psm is out of range", "up to 65535"),
        ("mem://a*", "       ^", "* cannot stand in a name", "every interface"),
        (f"mem://{'a' * 256}", " " * 261 + "^", "longer than 255 bytes", None),
        ("fd://", "     ^", "the descriptor is missing", "fd://3"),
        ("fd://2147483648", "     ^", "no descriptor has such a number", "up to 2147483647"),
        ("fd://ö", "     ^", "not a descriptor's name", "printable ASCII"),
        # Unix
        ("unix://", "       ^", "the path is missing", "unix://@name"),
        ("unix://run/x", "       ^", "the path is relative", "from / on"),
        ("unix://@", "        ^", "the abstract name is empty", "unix://@name"),
        ("unix:///a%00b", "         ^", "a NUL byte", None),
        ("unix:///x?mode=1777", "               ^", "not a file mode", "octal"),
        ("unix:///x?mode=68", "               ^", "not a file mode", "octal"),
        ("unix:///x?uid=4294967295", " " * 14 + "^", "no user has such a number", "up to 4294967294"),
        (f"unix:///x?uid={'9' * 11}", " " * 14 + "^", "no user has such a number", "up to 4294967294"),
        ("unix:///x?uid=-1", " " * 14 + "^", "not a user", "as `id` shows them"),
        ("unix:///x?uid=a:b", " " * 14 + "^", "not a user", "as `id` shows them"),
        ("unix:///x?uid=%20a", " " * 14 + "^", "not a user", "as `id` shows them"),
        (f"unix:///x?uid={'a' * 257}", " " * 270 + "^", "256 bytes", None),
        # datagrams
        ("udp://h:1?hops=0", " " * 15 + "^", "not a number of hops", "from 1"),
        ("udp://h:1?hops=256", " " * 15 + "^", "not a number of hops", "to 255"),
        ("udp://h:1?hops=-1", " " * 15 + "^", "not a number of hops", "to 255"),
        ("udp://h:1?loop=yes", " " * 15 + "^", "the only value here is no", "leave the parameter out"),
        ("udp://h:1?fragment=0", " " * 19 + "^", "the only value here is no", "leave the parameter out"),
        ("udp://h:1?share=2", " " * 16 + "^", "the only value here is yes", "leave the parameter out"),
        ("udp6://h:1?broadcast=yes", " " * 11 + "^", "udp6 has no such parameter", "it takes plaintext"),
        ("sctp://h:1?hops=1", " " * 11 + "^", "sctp has no such parameter", "it takes plaintext"),
        ("icmp://h?plaintext=yes", " " * 9 + "^", "icmp has no such parameter", "it takes interface, hops"),
        ("raw+ip://h?header=yes", " " * 21 + "^", "raw+ip needs proto", "?proto=89"),
        ("raw+ethernet://e?filter=udp port 53", " " * 27 + "^", "spaces and invisible", "write %20"),
        ("raw+ethernet://e?filter=%20", " " * 24 + "^", "not a filter", "%20 for a space"),
        ("raw+ethernet://e?filter=a%0Ab", " " * 24 + "^", "not a filter", "%20 for a space"),
        ("raw+ethernet://e?snap=9999999", " " * 22 + "^", "not a number of bytes", "to 262144"),
        # parameters
        ("vsock://2:1?x=1", "            ^", "vsock has no such parameter", "it takes none"),
        ("tcp://h:1?x=1", "          ^", "tcp has no such parameter", "it takes plaintext"),
        ("tcp://h:1?plain=yes", "          ^", "tcp has no such parameter", "did you mean plaintext?"),
        ("tcp://h:1?plaintext=true", " " * 20 + "^", "the only value here is yes", "write yes, or leave"),
        ("tcp://h:1?plaintext=no", " " * 20 + "^", "the only value here is yes", "write yes, or leave"),
        ("tls://h:1?plaintext=yes", "          ^", "tls has no such parameter", "it takes ca, "),
        ("tls://h:1?public=YES", " " * 17 + "^", "the only value here is yes", "write yes, or leave"),
        ("quic://h:1?public=yes", "           ^", "quic has no such parameter", None),
        ("tls+unix:///x?public=yes", " " * 14 + "^", "tls+unix has no such parameter", None),
        ("tls://h:1?trst=x", "          ^", "tls has no such parameter", "did you mean trust?"),
        ("tls://h:1?zzzz=x", "          ^", "tls has no such parameter", "it takes ca, "),
        ("seqpacket+tls://h:1?alpn=x", " " * 20 + "^", "no such parameter", "it takes ca, "),
        ("tls://h:1?", "          ^", "a parameter is missing", "name=value"),
        ("tls://h:1?ca=/a&", "                ^", "a parameter is missing", "name=value"),
        ("tls://h:1?=x", "          ^", "a parameter is missing", "name=value"),
        ("tls://h:1?ca", "            ^", "ca has no value", "ca=VALUE"),
        ("tls://h:1?ca=", "             ^", "ca has no value", "ca=VALUE"),
        ("tls://h:1?ca=/a&ca=/b", "                ^", "ca is given twice", "leave one out"),
        ("tls://h:1?ca=a", "             ^", "not an absolute path", "from / on"),
        ("tls://h:1?ca=/a%00", "             ^", "not an absolute path", "from / on"),
        ("tls://h:1?pin=x", "              ^", "not an identity", "sk1:"),
        (f"tls://h:1?pin={PIN[:-1]}", "              ^", "it has 57 characters after sk1:, not 58", "copy all"),
        (f"tls://h:1?pin={PIN[:9]}0{PIN[10:]}", " " * 23 + "^", "'0' cannot stand in an identity", "did you mean o?"),
        (f"tls://h:1?pin={PIN[:9]}~{PIN[10:]}", " " * 23 + "^", "'~' cannot stand in an identity", "digits 2 to 7"),
        (f"tls://h:1?pin={PIN[:-1]}{'ab'[PIN[-1] == 'a']}", "              ^", "check digits", "copy it again"),
        ("tls://h:1?trust=first-use", "                ^", "not a kind of trust", "did you mean first_use?"),
        ("tls://h:1?trust=qqq", "                ^", "not a kind of trust", "one of system, "),
        ("tls://h:1?alpn=h2,,x", "                  ^", "1 to 255 bytes", "alpn=h2,"),
        (f"tls://h:1?alpn={'x' * 256}", "               ^", "1 to 255 bytes", "alpn=h2,"),
        ("tls://h:1?sni=a..b", "                ^", "a label of the host name is empty", None),
        ("tls://h:1?ca=/a&trust=system", "                ^", "trust contradicts", "keep one"),
        ("raw+ip://h", "          ^", "raw+ip needs proto", "?proto=89"),
        ("raw+ip://h?proto=256", "                 ^", "not an IP protocol", "1 to 255"),
        ("raw+ip://h?proto=ospff", "                 ^", "not an IP protocol", "did you mean ospf?"),
        ("raw+ethernet://?proto=12", " " * 22 + "^", "not an EtherType", "0x88cc"),
        ("raw+ethernet://?proto=0x10000", " " * 22 + "^", "not an EtherType", "0x88cc"),
        ("udp://h:1?interface=a/b", " " * 20 + "^", "not an interface's name", "ip link"),
    ],
)
def test_fault(written: str, caret: str, reason: str, hint: str | None) -> None:
    error = fault(written)
    assert error.at == caret.index("^")
    assert reason in error.reason
    assert (hint or "") in (error.hint or "")
    assert error.reason in str(error) and (error.hint or "") in str(error)


def test_error_text_has_the_caret_below_the_fault() -> None:
    assert str(fault("tcp://localhost:65536")) == (
        "the port is out of range (it goes up to 65535; 0 takes a free one)\n"
        "  tcp://localhost:65536\n"
        "                  ^"
    )


def test_service_name_as_port_gets_its_number() -> None:
    try:
        number = socket.getservbyname("http")
    except OSError:
        assert fault("tcp://h:http").hint is None
    else:
        assert fault("tcp://h:http").hint == f"http is {number}"


def test_fields_of_another_kind_of_address_are_refused() -> None:
    for fields in (
        {"scheme": "tcp", "path": ":80"},
        {"scheme": "mem", "path": "x"},
        {"scheme": "unix", "port": 80, "path": "/x"},
        {"scheme": "unix", "host": "h", "path": "/x"},
        {"scheme": "unix", "host": "/x"},
        {"scheme": "unix:///a", "path": "b"},
        {"scheme": "icmp", "port": 1},
        {"scheme": "tcp", "host": "h:80"},
        {"scheme": "tcp", "host": "h", "port": -1},
        {"scheme": "tcp", "host": "h", "port": 80, "query": {"a=b&c": "d"}},
    ):
        with pytest.raises(EndpointError):
            Endpoint(**fields)  # type: ignore[arg-type]


# --- limits, at and past each


@pytest.mark.parametrize(
    ("fits", "too_much"),
    [
        ("tcp://h:65535", "tcp://h:65536"),
        ("vsock://4294967294:4294967294", "vsock://4294967295:1"),
        ("vsock://1:4294967294", "vsock://1:4294967295"),
        ("bt-rfcomm://*:30", "bt-rfcomm://*:31"),
        ("bt-l2cap://*:65535", "bt-l2cap://*:65536"),
        ("unix:///" + "a" * 106, "unix:///" + "a" * 107),
        ("unix:///" + "a" * 104 + "é", "unix:///" + "a" * 105 + "é"),
        ("unix:///" + "a" * 105 + "%FF", "unix:///" + "a" * 106 + "%FF"),
        ("unix://@" + "a" * 107, "unix://@" + "a" * 108),
        ("tcp://" + "a" * 63 + ":1", "tcp://" + "a" * 64 + ":1"),
        ("tcp://" + "a." * 126 + "b:1", "tcp://" + "a." * 126 + "bc:1"),
        ("tcp://" + "a." * 126 + "b.:1", "tcp://" + "a." * 126 + "bc.:1"),
        ("raw+ethernet://" + "a" * 15, "raw+ethernet://" + "a" * 16),
        ("mem://" + "a" * 255, "mem://" + "a" * 256),
        ("fd://2147483647", "fd://2147483648"),
        ("raw+ip://h?proto=255", "raw+ip://h?proto=256"),
        ("raw+ip://h?proto=1", "raw+ip://h?proto=0"),
        ("raw+ethernet://?proto=0xffff", "raw+ethernet://?proto=0x10000"),
        ("unix:///x?mode=0777", "unix:///x?mode=1000"),
        ("udp://h:1?hops=255", "udp://h:1?hops=256"),
        ("icmp://h?hops=1", "icmp://h?hops=0"),
        ("raw+ethernet://?snap=262144", "raw+ethernet://?snap=262145"),
        ("raw+ethernet://?snap=1", "raw+ethernet://?snap=0"),
        ("raw+ethernet://?filter=" + "a" * 4096, "raw+ethernet://?filter=" + "a" * 4097),
        ("tls://h:1?alpn=" + "a" * 255, "tls://h:1?alpn=" + "a" * 256),
    ],
)
def test_limit(fits: str, too_much: str) -> None:
    assert str(Endpoint.parse(fits)) == fits
    fault(too_much)


@pytest.mark.parametrize(
    ("written", "at"),
    [
        ("unix:///" + "a" * 107, 7 + 107),
        ("unix://@" + "a" * 108, 8 + 107),
        ("unix:///" + "%20" * 107, 7 + 1 + 3 * 106),
        ("unix:///" + "a" * 105 + "é", 7 + 106),
    ],
)
def test_caret_of_a_long_path_is_under_its_first_byte_too_many(written: str, at: int) -> None:
    error = fault(written)
    assert error.at == at
    assert error.reason == "the path has 108 bytes"
    assert error.hint is not None and "107" in error.hint and "unix://@name" in error.hint


def test_the_longest_path_is_one_that_the_kernel_takes(tmp_path: Path) -> None:
    path = f"{tmp_path}/".ljust(107, "s")
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(path)
        assert Endpoint.from_sockaddr("unix", taken.getsockname()) == Endpoint(scheme="unix", path=path)
    with socket.socket(socket.AF_UNIX) as refused, pytest.raises(OSError, match="too long"):
        refused.bind(path + "s")


# --- secrets


@pytest.mark.parametrize(
    "written",
    [
        "tcp://user:hunter2@h:80",
        "tcp://hunter2@h:80",
        "tcp://user:hunt@hunter2@h:80",
        "tcp://user:hunter2/@h:80",
        "tcp://user:hunter2?@h:80",
        "tcp://user:hunter2#@h:80",
        "tcp://user:hunter2 x@h:80",
        "tcp://user:80?hunter2@h:80",
        "tls://user:hunter2@h:443?nope=1",
        "user:hunter2@h:80",
        "user:hunter2@tcp://h:80",
        "tcp:/user:hunter2@h",
        "postgres://user:hunter2@h/db",
        "https://h/?token=hunter2",
        "tls://h:443?password=hunter2",
        "tls://h:443?ca=/a&password=hunter2&x=y",
        "tls://h:443?key=hunter2",
        "tls://h:443?key=hunter2&ca=",
        "unix://user:hunter2@x",
        "unix:///x?password=hunter2",
        "mem://user:hunter2@x",
    ],
)
def test_error_masks_what_may_be_a_secret(written: str) -> None:
    error = fault(written)
    for shown in (
        str(error),
        repr(error),
        repr(error.args),
        error.text,
        error.reason,
        str(error.hint),
        repr(vars(error)),
    ):
        assert "hunter2" not in shown
    assert "***" in error.text
    assert error.text[error.at : error.at + 1] == str(error).splitlines()[-2][2:][error.at : error.at + 1]


def test_error_masks_a_secret_given_as_a_field() -> None:
    with pytest.raises(EndpointError) as caught:
        Endpoint(scheme="tcp", host="user:hunter2@h", port=80)
    assert "hunter2" not in str(caught.value)


def test_masking_keeps_the_rest_and_moves_the_caret() -> None:
    error = fault("tls+unix:///a@b?token=123456&zzz=1")
    assert error.text == "tls+unix:///a@b?token=***&zzz=***"
    assert error.at == len("tls+unix:///a@b?")
    assert fault("tcp://user:a?b=123456@h:80?c=1").text == "tcp://***@h:80?c=***"
    error = fault("tls://h:1?sni=a@b:1")
    assert error.text == "tls://***@b:1"
    error = fault("unix:///a@b#c?token=123456")
    assert (error.text, error.at) == ("unix:///a@b#c?token=***", len("unix:///a@b"))


@given(st.text(string.ascii_letters + string.punctuation, max_size=12))
def test_no_password_survives(noise: str) -> None:
    with pytest.raises(EndpointError) as caught:
        Endpoint.parse(f"tcp://user:{noise}SECRET{noise}@host:80")
    assert "SECRET" not in str(caught.value) + repr(vars(caught.value))


# --- the value


def test_equality_of_names_ignores_case_and_keeps_the_spelling() -> None:
    one, other = Endpoint.parse("tcp://Example.ORG:80"), Endpoint.parse("tcp://example.org:80")
    assert one == other
    assert hash(one) == hash(other)
    assert (str(one), str(other)) == ("tcp://Example.ORG:80", "tcp://example.org:80")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tcp://h:80", "tcp4://h:80"),
        ("tcp://h:80", "tcp://h:81"),
        ("tcp://h:80", "tcp://g:80"),
        ("tcp://:80", "tcp://localhost:80"),
        ("tcp://localhost:80", "tcp://127.0.0.1:80"),
        ("tcp://[fe80::1%25a]:80", "tcp://[fe80::1%25A]:80"),
        ("unix:///a", "unix:///A"),
        ("mem://a", "mem://A"),
        ("mem://", "mem://a"),
        ("raw+ethernet://a", "raw+ethernet://A"),
        ("tls://h:1", "tls://h:1?trust=system"),
        ("tls://h:1?trust=first_use", "tls://h:1?trust=system"),
    ],
)
def test_unequal(one: str, other: str) -> None:
    assert Endpoint.parse(one) != Endpoint.parse(other)


def test_equality_ignores_the_order_of_parameters() -> None:
    assert Endpoint.parse("tls://h:1?sni=a&ca=/b") == Endpoint.parse("tls://h:1?ca=/b&sni=a")


def test_an_endpoint_is_not_its_text() -> None:
    assert Endpoint.parse("tcp://h:80") != "tcp://h:80"


def test_frozen() -> None:
    endpoint = Endpoint.parse("tls://h:80?trust=system")
    with pytest.raises(AttributeError, match=r"replace\(port=...\)"):
        endpoint.port = 81
    with pytest.raises(AttributeError, match="frozen"):
        del endpoint.port
    with pytest.raises(AttributeError):
        endpoint.extra = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        endpoint.query["trust"] = "x"  # type: ignore[index]
    assert str(endpoint) == "tls://h:80?trust=system"


def test_repr() -> None:
    assert repr(Endpoint.parse("tcp://localhost:80")) == "Endpoint('tcp://localhost:80')"


def test_copies_are_the_value_itself() -> None:
    endpoint = Endpoint.parse("tcp://h:80")
    assert copy.copy(endpoint) is endpoint
    assert copy.deepcopy([endpoint])[0] is endpoint


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol: int) -> None:
    for endpoint in (Endpoint.parse("tls://h:80?trust=system"), Endpoint.from_sockaddr("unix", "")):
        again = pickle.loads(pickle.dumps(endpoint, protocol))
        assert again == endpoint
        assert hash(again) == hash(endpoint)


def test_replace() -> None:
    endpoint = Endpoint.parse("tls://h:80?trust=system")
    assert str(endpoint.replace(port=81)) == "tls://h:81?trust=system"
    assert str(endpoint.replace(scheme="tcp", query=None)) == "tcp://h:80"
    assert str(endpoint.replace(host=None, query={"ca": "/a"})) == "tls://:80?ca=/a"
    assert str(Endpoint.parse("unix:///a").replace(path="@b")) == "unix://@b"
    with pytest.raises(EndpointError):
        endpoint.replace(scheme="tcp")
    with pytest.raises(TypeError):
        endpoint.replace(carrier="tcp")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("written", "loopback"),
    [
        ("tcp://:80", True),
        ("tcp://localhost:80", True),
        ("tcp://LOCALHOST.:80", True),
        ("tcp://127.9.9.9:80", True),
        ("tcp://[::1]:80", True),
        ("tcp://[::1%25lo]:80", True),
        ("tcp://[::ffff:127.0.0.1]:80", True),
        ("icmp://", True),
        ("unix:///a", True),
        ("mem://", True),
        ("fd://3", True),
        ("vsock://:1", True),
        ("vsock://1:1", True),
        ("raw+ethernet://", True),
        ("raw+ethernet://lo", True),
        ("tcp://*:80", False),
        ("tcp://0.0.0.0:80", False),
        ("tcp://127.example.org:80", False),
        ("tcp://evil.localhost:80", False),
        ("tcp://128.0.0.1:80", False),
        ("tcp://[::2]:80", False),
        ("tcp://[::ffff:8.8.8.8]:80", False),
        ("vsock://2:1", False),
        ("raw+ethernet://eth0", False),
        ("bt-rfcomm://aa-bb-cc-dd-ee-ff:1", False),
    ],
)
def test_is_loopback(written: str, loopback: bool) -> None:
    assert Endpoint.parse(written).is_loopback is loopback


@pytest.mark.parametrize(
    ("written", "wildcard"),
    [
        ("tcp://*:80", True),
        ("tcp://0.0.0.0:80", True),
        ("tcp://[0::0]:80", True),
        ("tcp://[::ffff:0.0.0.0]:80", True),
        ("vsock://*:80", True),
        ("raw+ethernet://*", True),
        ("tcp://:80", False),
        ("tcp://0.0.0.1:80", False),
        ("mem://0.0.0.0", False),
        ("unix://@*", False),
    ],
)
def test_is_wildcard(written: str, wildcard: bool) -> None:
    assert Endpoint.parse(written).is_wildcard is wildcard


# --- kernel addresses


@pytest.mark.parametrize(
    ("scheme", "sockaddr", "text"),
    [
        ("tcp", ("192.0.2.1", 80), "tcp://192.0.2.1:80"),
        ("tcp", ("", 80), "tcp://*:80"),
        ("tcp", ("localhost", 80), "tcp://localhost:80"),
        ("tcp", ("::1", 80, 0, 0), "tcp://[::1]:80"),
        ("tcp", ("::0:1", 80), "tcp://[::1]:80"),
        ("udp", ("fe80::1%eth0", 80, 0, 2), "udp://[fe80::1%25eth0]:80"),
        ("udp", ("fe80::1", 80, 0, 2), "udp://[fe80::1%252]:80"),
        ("udp", ("::ffff:192.0.2.1", 80, 0, 0), "udp://192.0.2.1:80"),
        ("udp6", ("::ffff:192.0.2.1", 80, 0, 0), "udp6://[::ffff:192.0.2.1]:80"),
        ("icmp", ("192.0.2.1", 0), "icmp://192.0.2.1"),
        ("raw+ip", ("192.0.2.1", 89), "raw+ip://192.0.2.1?proto=89"),
        ("raw+ethernet", ("eth0", 0x0806, 0, 1, b"\xaa" * 6), "raw+ethernet://eth0?proto=0x0806"),
        ("raw+ethernet", ("", 0, 0, 0, b""), "raw+ethernet://*"),
        ("unix", "/run/x y", "unix:///run/x%20y"),
        ("unix", b"/run/x\0\0", "unix:///run/x"),
        ("unix", "/run/\udcff", "unix:///run/%FF"),
        ("unix", b"\0a\0b", "unix://@a%00b"),
        ("unix", "\0a", "unix://@a"),
        ("seqpacket+unix", "/x", "seqpacket+unix:///x"),
        ("vsock", (2, 5000), "vsock://2:5000"),
        ("vsock", (0xFFFFFFFF, 0xFFFFFFFF), "vsock://*:0"),
        ("vsock", (-1, 5), "vsock://*:5"),
        ("bt-rfcomm", ("AA:BB:CC:DD:EE:FF", 3), "bt-rfcomm://aa-bb-cc-dd-ee-ff:3"),
        ("bt-l2cap", ("00:00:00:00:00:00", 25), "bt-l2cap://*:25"),
        ("mem", "name", "mem://name"),
        ("fd", 3, "fd://3"),
    ],
)
def test_from_sockaddr(scheme: str, sockaddr: tuple[object, ...] | str | bytes | int, text: str) -> None:
    endpoint = Endpoint.from_sockaddr(scheme, sockaddr)
    assert str(endpoint) == text
    assert Endpoint.parse(text) == endpoint


@pytest.mark.parametrize(
    ("sockaddr", "text"),
    [
        ("", "unix://"),
        (b"", "unix://"),
        (None, "unix://"),
        (b"\0", "unix://@"),
        ("name", "unix://./name"),
        ("./name", "unix://./name"),
        ("@name", "unix://./@name"),  # a file in its folder, which must not pass for an abstract name
        ("/" + "a" * 107, "unix:///" + "a" * 107),
    ],
)
def test_unix_addresses_that_only_the_kernel_gives(sockaddr: str | bytes | None, text: str) -> None:
    endpoint = Endpoint.from_sockaddr("unix", sockaddr)
    assert str(endpoint) == text
    assert pickle.loads(pickle.dumps(endpoint)) == endpoint
    fault(text)


@pytest.mark.parametrize(
    ("scheme", "sockaddr"),
    [
        ("nope", ("h", 1)),
        ("tcp4", ("::1", 1)),
        ("tcp6", ("127.0.0.1", 1)),
        ("tcp", ("h", 65536)),
        ("tcp", ("1.2.3.4", -1)),
    ],
)
def test_from_sockaddr_refuses_what_is_no_address(scheme: str, sockaddr: tuple[str, int]) -> None:
    with pytest.raises(EndpointError):
        Endpoint.from_sockaddr(scheme, sockaddr)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_real_addresses(family: socket.AddressFamily) -> None:
    with socket.socket(family) as listener:
        try:
            listener.bind({socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0)}.get(family, ""))
        except OSError:
            pytest.skip(f"this machine has no {family.name}")
        scheme = "unix" if family == socket.AF_UNIX else "tcp"
        endpoint = Endpoint.from_sockaddr(scheme, listener.getsockname())
        assert endpoint.is_loopback
        assert Endpoint.parse(str(endpoint)) == endpoint
        listener.listen()
        with socket.socket(family) as caller:
            if endpoint.path is not None:
                caller.connect("\0" + endpoint.path[1:])
            else:
                caller.connect((endpoint.host, endpoint.port))


def test_a_repeated_address_is_the_same_value() -> None:
    first = Endpoint.from_sockaddr("tcp", ("192.0.2.77", 4711))
    assert Endpoint.from_sockaddr("tcp", ("192.0.2.77", int("4711"))) is first
    assert Endpoint.from_sockaddr("udp", ("192.0.2.77", 4711)).scheme == "udp"


def test_the_cache_is_bounded() -> None:
    first = Endpoint.from_sockaddr("udp", ("192.0.2.78", 1))
    for number in range(5000):
        Endpoint.from_sockaddr("udp", ("192.0.2.79", number))
    again = Endpoint.from_sockaddr("udp", ("192.0.2.78", 1))
    assert again == first
    assert again is not first


# --- the page


PAGE = Path(__file__).parents[1] / "docs" / "endpoints.md"


def test_the_page_shows_real_errors() -> None:
    lines = PAGE.read_text().rpartition("```\n")[0].rpartition("```\n")[2].splitlines()
    shown = ["\n".join(lines[at : at + 3]) for at in range(0, len(lines), 3)]
    assert len(shown) > 3
    for error in shown:
        assert str(fault(error.splitlines()[1].strip())) == error


def test_the_page_names_every_scheme_and_parameter() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    named = {word for row in rows for word in row.split("|")[1].replace("`", "").split()}
    assert named == SCHEMES.keys() | {name for kind in SCHEMES.values() for name in kind.parameters}
