"""The kernel's interfaces, in namespaces that have many kinds of them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from socketkit.hosting.addresses import choose
from socketkit.hosting.interfaces import Interface, _attributes, _kind, interfaces

WORDS = (
    "link set lo up",
    "link add wire0 type veth peer name far0",  # a container's own wire: it has the default route
    "link set wire0 up",
    "link set far0 up",
    "addr add 192.168.7.2/24 dev wire0",
    "addr add fd00:7::2/64 dev wire0 nodad",
    "route add default via 192.168.7.1 metric 100",
    "link add docker0 type bridge",
    "link set docker0 up",
    "addr add 172.17.0.1/16 dev docker0",
    "link add ifb7 type ifb",
    "link set ifb7 up",
    "addr add 10.9.9.9/32 dev ifb7",
    "tuntap add name vpn0 mode tun",
    "link set vpn0 up",
    "addr add 10.8.0.2/24 dev vpn0",
    "route add default dev vpn0 metric 1",  # a VPN takes all: it is still not the local network
)
LOOK = """
import json
from socketkit.hosting.interfaces import interfaces
from socketkit.hosting.addresses import addresses, choose
print(json.dumps([[known._asdict() for known in interfaces()], [known._asdict() for known in addresses()],
                  choose().host, choose("docker0").host, choose("10.8.0.2").interface]))
"""


@pytest.mark.privileged
@pytest.mark.slow
def test_many_kinds(program: Callable[[str], str]) -> None:
    ip = program("ip")
    script = "".join(f"{ip} {words} || exit 1\n" for words in WORDS) + 'exec "$0" -c "$1"'
    done = subprocess.run(
        [program("unshare"), "-n", "sh", "-c", script, sys.executable, LOOK],
        capture_output=True, text=True, timeout=60, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, listed, chosen, bridge, tunnel = json.loads(done.stdout)
    kinds = {known["name"]: (known["kind"], known["up"], known["default_metric"]) for known in found}
    assert kinds["lo"] == ("loopback", True, None)
    assert kinds["wire0"] == ("container", True, 100)
    assert kinds["docker0"][0] == "container"
    assert kinds["ifb7"] == ("virtual", True, None)
    assert kinds["vpn0"][0] == "vpn" and kinds["vpn0"][2] == 1
    by_name = {known["name"]: known["addresses"] for known in found}
    assert by_name["wire0"][:2] == ["192.168.7.2", "fd00:7::2"]
    assert (chosen, bridge, tunnel) == ("192.168.7.2", "172.17.0.1", "vpn0")
    usable = [known["host"] for known in listed if known["usable"]]
    assert usable == ["192.168.7.2", "fd00:7::2"]


def test_this_machine() -> None:
    before = {name for _, name in socket.if_nameindex()}
    found = interfaces()
    after = {name for _, name in socket.if_nameindex()}  # other tests may make some meanwhile
    (loopback,) = [known for known in found if known.kind == "loopback"]
    assert loopback.up
    assert "127.0.0.1" in loopback.addresses
    assert before & after <= {known.name for known in found} <= before | after


@pytest.mark.parametrize(
    ("made_as", "hardware", "flags", "kind"),
    [
        ("", 1, 0x1, "network"),
        ("bond", 1, 0x1, "network"),
        ("veth", 1, 0x1, "container"),
        ("wireguard", 65534, 0x91, "vpn"),
        ("", 512, 0x91, "vpn"),
        ("dummy", 1, 0x1, "virtual"),
        ("", 772, 0x9, "loopback"),
    ],
)
def test_kinds(made_as: str, hardware: int, flags: int, kind: str) -> None:
    assert _kind(made_as, hardware, flags) == kind


def test_attributes_that_lie_about_their_length() -> None:
    assert list(_attributes(b"\0\0\0\0")) == []
    assert list(_attributes(b"\x08\0\x03\0eth0\xff")) == [(3, b"eth0")]


def test_a_machine_without_a_network() -> None:
    from socketkit import ListenError
    from socketkit.hosting.addresses import addresses

    alone = Interface("lo", "loopback", True, ("127.0.0.1",), None)
    with pytest.raises(ListenError, match="it has none but its own loopback"):
        choose(known=addresses([alone]))
