"""Which address is shown to others."""

from __future__ import annotations

import pytest

from socketkit import ListenError
from socketkit.hosting.addresses import addresses, choose, reach_of
from socketkit.hosting.interfaces import Interface

LOOPBACK = Interface("lo", "loopback", True, ("127.0.0.1", "::1"), None)
RADIO = Interface("wlan0", "network", True, ("192.168.1.7", "2a02::7", "fd00::7", "fe80::7"), 600)
WIRE = Interface("eth0", "network", True, ("10.0.0.7",), 100)
PLUGGED_OUT = Interface("eth1", "network", False, ("10.1.0.7",), None)
VPN = Interface("wg0", "vpn", True, ("10.8.0.7",), 0)
DOCKER = Interface("docker0", "container", True, ("172.17.0.1",), None)
BRIDGE = Interface("br0", "container", True, ("192.168.2.7",), 0)
RENTED = Interface("ens3", "network", True, ("203.0.113.7", "5.6.7.8"), 0)


def test_the_default_route_first() -> None:
    listed = addresses([LOOPBACK, RADIO, VPN, WIRE, PLUGGED_OUT, DOCKER])
    assert [known.host for known in listed if known.usable] == ["10.0.0.7", "192.168.1.7", "fd00::7"]
    assert choose(known=listed).host == "10.0.0.7"
    reasons = {known.host: known.why for known in listed}
    assert reasons["10.8.0.7"] == "a VPN or a tunnel"
    assert reasons["172.17.0.1"] == "for containers of this machine"
    assert reasons["10.1.0.7"] == "the interface is down"
    assert reasons["2a02::7"] == "open to the Internet"
    assert reasons["fe80::7"] == "reached on its own link only"


def test_a_bridge_with_the_default_route_is_the_network() -> None:
    assert choose(known=addresses([LOOPBACK, BRIDGE, DOCKER])).host == "192.168.2.7"


def test_what_was_asked_for() -> None:
    listed = addresses([LOOPBACK, RADIO, VPN, DOCKER, RENTED])
    assert choose("wg0", listed).host == "10.8.0.7"
    assert choose("172.17.0.1", listed).interface == "docker0"
    assert choose("[fd00::7]", listed).host == "fd00::7"
    assert choose("ens3", listed).host == "203.0.113.7" or choose("ens3", listed).host == "5.6.7.8"
    assert choose("lo", listed).host == "127.0.0.1"


def test_a_public_address_must_be_named() -> None:
    listed = addresses([LOOPBACK, Interface("ens3", "network", True, ("5.6.7.8",), 0)])
    with pytest.raises(ListenError, match=r"name one of these: 5\.6\.7\.8 on ens3 \(open to the Internet\)"):
        choose(known=listed)
    assert choose("ens3", listed).host == "5.6.7.8"


def test_what_is_not_there() -> None:
    with pytest.raises(ListenError, match="this machine has no fe80::7"):
        choose("fe80::7", addresses([LOOPBACK, RADIO]))
    with pytest.raises(ListenError, match=r"this machine has no eth7: name one of these: 192\.168\.1\.7 on wlan0"):
        choose("eth7", addresses([LOOPBACK, RADIO]))


@pytest.mark.parametrize(
    ("host", "reach"),
    [
        ("127.0.0.1", "this machine"),
        ("::ffff:127.0.0.1", "this machine"),
        ("169.254.1.1", "this link"),
        ("fe80::1%eth0", "this link"),
        ("10.0.0.1", "the local network"),
        ("fd00::1", "the local network"),
        ("100.64.0.1", "everywhere"),
        ("9.9.9.9", "everywhere"),
    ],
)
def test_reach(host: str, reach: str) -> None:
    assert reach_of(host) == reach
