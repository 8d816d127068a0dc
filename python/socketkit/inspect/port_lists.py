"""Which ports are meant: `22,80,1-1024,udp:53`, `-` for all of them, and the ones that are looked at unless told."""

from __future__ import annotations

from typing import NamedTuple

from .service_probes import UDP_PORTS
from .targets import TargetError


class Ports(NamedTuple):
    """Ports by protocol, each once, in ascending order."""

    tcp: tuple[int, ...]
    udp: tuple[int, ...] = ()

    def with_more(self, tcp: tuple[int, ...], udp: tuple[int, ...]) -> Ports:
        return Ports(tuple(sorted({*self.tcp, *tcp})), tuple(sorted({*self.udp, *udp})))


def parsed(text: str) -> Ports:
    """The ports of a list such as `22,8000-8100,udp:53,udp`. TargetError says what it should be."""
    found: dict[str, set[int]] = {"tcp": set(), "udp": set()}
    for item in text.split(","):
        protocol, colon, numbers = item.strip().rpartition(":")
        if not colon and numbers in found:
            found[numbers].update(COMMON_TCP if numbers == "tcp" else UDP_PORTS)
        elif (protocol or "tcp") not in found:
            raise TargetError(f"{item!r:.40}: ports are of tcp or udp, as in udp:53")
        else:
            found[protocol or "tcp"].update(_numbers(numbers, item))
    return Ports(tuple(sorted(found["tcp"])), tuple(sorted(found["udp"])))


def _numbers(text: str, item: str) -> range:
    if text == "-":
        return range(1, 65_536)
    first, dash, last = text.partition("-")
    ends = (first, last) if dash else (first, first)
    if all(end.isdecimal() and end.isascii() and len(end) <= 5 for end in ends):
        numbers = range(int(ends[0]), int(ends[1]) + 1)
        if numbers and numbers[0] >= 1 and numbers[-1] <= 65_535:
            return numbers
    raise TargetError(
        f"{item!r:.40} is no port: write numbers from 1 to 65535, as in 22,80,8000-8100,udp:53 (- for all)"
    )


def _spread(text: str) -> tuple[int, ...]:
    return tuple(number for item in text.split() for number in _numbers(item, item))


# The system ports (RFC 6335 §6), all of them, and of the others those that servers listen on unless told: from
# IANA's register where they are in it (databases, queues, remote desktops), else from the programs' own documentation.
COMMON_TCP = _spread("""
    1-1023 1025-1030 1080 1099 1194 1352 1433-1434 1494 1521 1526 1701 1723 1755 1812-1813 1883 1900 1935 2000 2049
    2082-2083 2086-2087 2095-2096 2121 2181 2222 2375-2377 2379-2380 2404 2480 2483-2484 2525 2601-2605 2628 2638 2812
    2947 2967 3000-3010 3050 3128 3260 3268-3269 3283 3306 3310 3333 3389 3478 3493 3632 3690 3724 3868 4000-4002 4040
    4045 4190 4242-4243 4317-4318 4333 4369 4443-4444 4500 4505-4506 4567 4646-4648 4711 4730 4840 4848 4949 5000-5009
    5037 5044 5050-5051 5060-5061 5080 5100-5101 5190 5201 5222-5223 5269 5280-5281 5298 5353 5355 5357 5400 5432-5433
    5500 5555-5556 5601 5631-5632 5666-5667 5671-5672 5683-5684 5800-5803 5858 5900-5905 5938 5984-5986 6000-6007
    6080-6082 6123 6346-6347 6379-6380 6443-6444 6566 6600 6653 6660-6669 6697 6789 6881 6969 7000-7002 7070 7077 7100
    7199 7443 7473-7474 7547 7687 7777 7946 8000-8010 8020 8042 8069 8080-8100 8112 8118 8123 8125-8126 8140 8161 8172
    8181 8200 8222 8243 8280 8291 8300-8302 8333 8384 8400 8443-8444 8448 8500-8501 8529-8531 8545 8554 8600 8649 8686
    8728-8729 8765 8787 8800 8834 8843 8880 8883 8888-8889 8983 8989 9000-9011 9042 9050-9051 9060 9080-9081 9090-9094
    9099-9104 9160 9191 9200-9201 9229 9292 9300 9306 9312 9392 9411 9418 9443 9600 9618 9696 9735 9876 9980 9990 9993
    9999 10000-10010 10050-10051 10250 10255-10256 10443 11211 11371 11434 12201 12345 13720 13782 15671-15672 15692
    16010 16080 16509 16992-16993 17500 18080 18083 18091-18092 19999 20000 22000 22222 24800 25565 25575 25672 26257
    27015-27020 28015 28017 31337 32400 32764 32768-32785 33060 34567 35357 37777 44818 47808 49152-49165 50000-50003
    50070 50075 50090 51413 54321 55443 55555 60000 61613-61616 62078 64738
""")
