"""What `use_of` says of captures that we did not make: nDPI's, flow by flow, beside what nDPI says of them.

Only flows count whose payload nDPI recognised ("Confidence: DPI"); what it took from an address or a port is no proof.
The same captures are judged once more with every port moved to an odd one.
"""

from __future__ import annotations

import functools
import re
import tarfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

from socketkit import Endpoint, _core
from socketkit.inspect.uses import Use, use_of

from ..capture_files import known_link, moved, packets, with_moved_ports

ARCHIVE = Path(__file__).parents[2] / "build" / "captures" / "ndpi_4.2.orig.tar.gz"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not ARCHIVE.exists(), reason=f"no {ARCHIVE.name}: tools/captures.sh fetches it"),
]


class Flow(NamedTuple):
    capture: str
    transport: str
    one: tuple[str, int]
    other: tuple[str, int]
    protocol: str  # nDPI's name
    encrypted: bool


class Entry(NamedTuple):
    """A row of the socket table of which nothing is known but where it goes."""

    scheme: str
    local: Endpoint
    peer: Endpoint
    state: str = "established"
    processes: tuple[()] = ()


FLOW = re.compile(r"^\t\d+\t(TCP|UDP) (\S+) (?:<->|->) (\S+) \[proto: [^\]/]*/([^\]]*)\]\[(\w+)\]\[Confidence: DPI\]")


@functools.cache
def archive() -> tuple[dict[str, bytes], tuple[Flow, ...]]:
    captures: dict[str, bytes] = {}
    results: dict[str, str] = {}
    with tarfile.open(ARCHIVE) as files:
        for member in files:
            folder, _, name = member.name.partition("/tests/")[2].partition("/")
            if member.isfile() and folder in ("pcap", "result"):
                content = files.extractfile(member)
                assert content is not None
                if folder == "pcap":
                    captures[name] = content.read()
                else:
                    results[name.removesuffix(".out")] = content.read().decode(errors="replace")
    flows = []
    for name, lines in sorted(results.items()):
        for line in lines.splitlines() if name in captures else ():
            found = FLOW.match(line)
            if found:
                one, other = end(found[2]), end(found[3])
                if one is not None and other is not None:
                    flows.append(Flow(name, found[1].lower(), one, other, found[4], found[5] == "Encrypted"))
    return captures, tuple(flows)


def end(text: str) -> tuple[str, int] | None:
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    # nDPI writes some addresses of fuzzed packets so that nobody can read them.
    return (host, int(port)) if host.count("::") <= 1 else None


class Judged(NamedTuple):
    flow: Flow
    use: Use | None  # None: no packet of it is there, as we read it (in tunnels, on links without IP)
    started: bool


@functools.cache
def judged(odd: bool) -> tuple[Judged, ...]:
    captures, flows = archive()
    by_capture = defaultdict(list)
    for flow in flows:
        by_capture[flow.capture].append(flow)
    return tuple(verdict for name, flows in by_capture.items() for verdict in judge(captures[name], flows, odd))


def judge(capture: bytes, flows: list[Flow], odd: bool) -> list[Judged]:
    collector = _core.FirstBytes([], idle_seconds=1e9)  # a capture's times are no reason to forget
    for link, nanoseconds, packet in packets(capture):
        known = known_link(link, packet)
        if known is not None:
            collector.feed(known[0], with_moved_ports(*known) if odd else known[1], nanoseconds)
    verdicts = []
    for flow in flows:
        one, other = ((host, moved(port) if odd else port) for host, port in (flow.one, flow.other))
        evidence = collector.lookup(flow.transport, one, other)
        if evidence is None:
            verdicts.append(Judged(flow, None, False))
            continue
        ends = (Endpoint(scheme=flow.transport, host=host, port=port or None) for host, port in (one, other))
        verdicts.append(Judged(flow, use_of(Entry(flow.transport, *ends), evidence), evidence.started))
    collector.close()
    return verdicts


def expected(flow: Flow) -> set[str]:
    """The uses that a flow of nDPI's protocol may have: the carrier's, or that of what is carried."""
    if (flow.capture, flow.protocol) in CORRECTED:
        return CORRECTED[flow.capture, flow.protocol]
    return {use for part in flow.protocol.split(".") for use in USES_OF.get(part, ())}


def fraction(verdicts: list[Judged]) -> tuple[float, str]:
    """How much of it is right, and a table by protocol."""
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    wrong: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for verdict in verdicts:
        carrier = verdict.flow.protocol.split(".")[0]
        total[carrier] += 1
        name = verdict.use.name if verdict.use is not None else "not seen"
        if name in expected(verdict.flow):
            right[carrier] += 1
        else:
            wrong[carrier][name] += 1
    lines = [
        f"{right[carrier]:5} of {count:5}  {carrier}  {dict(wrong[carrier]) or ''}"
        for carrier, count in total.most_common()
    ]
    share = right.total() / total.total()
    return share, "\n".join([*lines, f"{right.total()} of {total.total()}: {share:.1%}"])


@pytest.mark.parametrize("odd", [False, True], ids=["its-ports", "odd-ports"])
def test_nine_of_ten_uses_are_right(odd: bool) -> None:
    verdicts = list(judged(odd))
    assert len(verdicts) > 3_500, "most of the flows of the package are there"
    share, table = fraction(verdicts)
    print(table)
    assert share >= 0.9, table


@pytest.mark.parametrize("odd", [False, True], ids=["its-ports", "odd-ports"])
def test_what_leaves_no_doubt_is_right(odd: bool) -> None:
    sure = [verdict for verdict in judged(odd) if verdict.use is not None and verdict.use.confidence >= 0.95]
    share, table = fraction(sure)
    assert len(sure) > 1_500
    assert share >= 0.99, table


@pytest.mark.parametrize("odd", [False, True], ids=["its-ports", "odd-ports"])
def test_encrypted_is_never_said_of_what_is_not(odd: bool) -> None:
    wrong = [
        (verdict.flow, verdict.use)
        for verdict in judged(odd)
        if verdict.use is not None
        and verdict.use.encrypted == "yes"
        and not verdict.flow.encrypted
        and verdict.flow.protocol.split(".")[0] not in SEALED_ALL_THE_SAME
    ]
    assert not wrong


@pytest.mark.parametrize("odd", [False, True], ids=["its-ports", "odd-ports"])
def test_clear_is_never_said_of_what_is_sealed(odd: bool) -> None:
    wrong = [
        (verdict.flow, verdict.use)
        for verdict in judged(odd)
        if verdict.use is not None
        and verdict.use.encrypted == "no"
        and verdict.flow.encrypted
        and verdict.flow.protocol.split(".")[0] not in CLEAR_ALL_THE_SAME
    ]
    assert not wrong


# The uses, and nDPI's names for what has them; some have two.
NAMES_OF = {
    "web": "TLS QUIC HTTP WebSocket AJP Github CiscoVPN",
    "proxy": "HTTP_Proxy HTTP_Connect SOCKS Tor",
    "dns": "DNS DoH_DoT DNScrypt AVASTSecureDNS MDNS LLMNR",
    "discovery": "MDNS LLMNR NetBIOS SSDP WSD UBNTAC2",
    "file sharing": "NetBIOS Dropbox FTP_CONTROL FTP_DATA SMBv1 SMBv23 TFTP NFS AFP iSCSI RSYNC BitTorrent RX",
    "call": (
        "Skype_Teams SkypeCall STUN RTP RTCP SIP H323 Zoom Webex Teams WhatsAppCall SignalVoip "
        "GoogleHangoutDuo FacebookVoip SnapchatCall KakaoTalk_Voice CiscoSkinny TeamSpeak Viber Telegram"
    ),
    "streaming": "RTP RTCP NetFlix YouTube YouTubeUpload Spotify RTSP RTMP MPEG_TS Zattoo",
    "messaging": "Viber Telegram WhatsApp WhatsAppFiles Signal WeChat KakaoTalk IRC ApplePush Slack SMPP",
    "game": "Steam Nintendo Starcraft GenshinImpact AmongUs WorldOfWarcraft",
    "version control": "Git Github",
    "mail": "SMTP SMTPS IMAP IMAPS POP3 POPS GMail",
    "database": "MsSQL-TDS MongoDB MySQL PostgreSQL Oracle Cassandra DRDA Memcached Redis Z39",
    "message queue": "AMQP MQTT Nats",
    "directory": "Kerberos LDAP Radius Diameter Whois-DAS",
    "time": "NTP",
    "network control": "DHCP DHCPV6 BGP CAPWAP CPHA",
    "mobile network": "GTP",
    "monitoring": "Syslog NetFlow Zabbix CHECKMK Ookla NestLogSink SNMP EAQ",
    "ssh": "SSH",
    "remote desktop": "RDP VNC Citrix AnyDesk",
    "remote shell": "Telnet",
    "vpn": "OpenVPN WireGuard IPsec TINC Teredo DTLS CiscoVPN FortiClient",
    "automation": "Modbus DNP3 IEC60870 s7comm EthernetIP COAP",
    "remote procedure": "DCE_RPC",
    "finance": "FIX",
    "mining": "Mining",
}
USES_OF: defaultdict[str, set[str]] = defaultdict(set)
for _use, _names in NAMES_OF.items():
    for _name in _names.split():
        USES_OF[_name].add(_use)

QUIC_IN_PIECES = "quic_frags_ch_out_of_order_same_packet_craziness.pcapng"
# Where nDPI knows less than the bytes say.
CORRECTED = {
    # It took the port for more than it is: this is CoAP, as the capture's name says.
    ("coap_mqtt.pcap", "Dropbox"): {"automation"},
    # Hellos in many pieces, out of order, which it does not read: for youtube.com, dns.google, whatsapp.net.
    (QUIC_IN_PIECES, "QUIC"): {"web", "streaming", "dns", "messaging"},
    ("imaps.pcap", "TLS.ntop"): {"mail"},
    # mtalk.google.com carries the messages to Android's apps.
    ("alexa-app.pcapng", "TLS.GoogleServices"): {"web", "messaging"},
    ("ocs.pcap", "TLS.GoogleServices"): {"web", "messaging"},
}
# What nDPI calls clear text by its protocol: these go over to TLS, or have a cipher of their own.
SEALED_ALL_THE_SAME = {"FTP_CONTROL", "SMTP", "RDP", "Mining", "TeamSpeak", "TINC"}
# What it calls encrypted by its protocol: resolvers that are asked for their certificate in plain DNS, NATS without
# TLS, the plain request that a VPN's client begins with.
CLEAR_ALL_THE_SAME = {"DNScrypt", "AVASTSecureDNS", "Nats", "CiscoVPN"}
