"""A man in the middle, found: in views that were made up, and in a network, until the remedy was applied."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from socketkit.known_peers import KnownPeer
from socketkit.threats.middle import find
from socketkit.threats.view import Gateway, HostsLine, Neighbour, Presented, Remembered
from tests.keys import A, B
from tests.threats.findings.looking import about, seen
from tests.threats.made_up import ids, only, view
from tests.threats.namespaces import Network

MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"
GATEWAY = Gateway("192.0.2.1", "eth0")


def test_one_hardware_address_for_two() -> None:
    two = [Neighbour("192.0.2.1", MAC, "eth0"), Neighbour("192.0.2.7", MAC, "eth0")]
    assert ids(find(view(neighbours=two, gateways=[GATEWAY]))) == [("MI1", "high")]
    assert ids(find(view(neighbours=two))) == [("MI1", "medium")]
    apart = [two[0], Neighbour("192.0.2.7", MAC, "eth1"), Neighbour("fe80::1", MAC, "eth0")]
    assert ids(find(view(neighbours=apart, gateways=[GATEWAY]))) == []


def test_gateway_that_has_changed() -> None:
    facts = {"neighbours": [Neighbour("192.0.2.1", MAC, "eth0")], "gateways": [GATEWAY]}
    assert ids(find(view(**facts, before=Remembered({"eth0 192.0.2.1": OTHER})))) == [("MI2", "high")]
    assert ids(find(view(**facts, before=Remembered({"eth0 192.0.2.1": MAC})))) == []


def test_key_that_has_changed() -> None:
    shown = [Presented("localhost:7", "tcp://127.0.0.1:7", "TLSv1.3", A)]

    def found(*known: KnownPeer) -> list[tuple[str, str]]:
        return ids(find(view(presented=shown, known_peers=known)))

    assert found() == []
    assert found(KnownPeer("localhost:7", A, "", False, 1)) == []
    assert found(KnownPeer("localhost:7", B, "", False, 1)) == [("MI3", "high")]
    assert found(KnownPeer("*", A, "", True, 1)) == [("MI3", "high")]
    assert found(KnownPeer("localhost:8", B, "", False, 1)) == []


@pytest.mark.parametrize(
    ("own", "every", "forwarding", "expected"),
    [(0, 0, 0, []), (1, 0, 0, ["MI4"]), (0, 1, 0, ["MI4"]), (1, 0, 1, []), (1, 1, 1, ["MI4"])],
)
def test_redirects_as_the_kernel_judges_them(own: int, every: int, forwarding: int, expected: list[str]) -> None:
    prefix = "net.ipv4.conf."
    names = {
        f"{prefix}eth0.accept_redirects": str(own),
        f"{prefix}all.accept_redirects": str(every),
        f"{prefix}eth0.forwarding": str(forwarding),
    }
    assert [check for check, _ in ids(find(view(sysctls=names)))] == expected


def test_root_authority_that_is_new() -> None:
    facts = {"authorities": {"aa": "Good", "bb": "Bad"}}
    assert "Bad" in only(find(view(**facts, before=Remembered(authorities=frozenset({"aa"})))), "MI5").evidence
    assert ids(find(view(**facts))) == []  # the first look: nobody knows what was there


def test_proxies_without_their_passwords() -> None:
    (found,) = find(view(proxies={"environment http_proxy": "http://user:secret@proxy.example:3128"}))
    assert (found.id, "secret" in str(found)) == ("MI6", False)
    assert ids(find(view(proxies={"a": "http://localhost:3128"}))) == [("MI6", "info")]


@pytest.mark.parametrize(
    ("name", "address", "expected"),
    [
        ("bank.example.org", "192.0.2.7", [("MI7", "medium")]),
        ("ads.example.org", "0.0.0.0", [("MI7", "info")]),
        ("box.example.org", "127.0.1.1", []),
        ("nas.local", "192.0.2.7", []),
        ("localhost", "127.0.0.1", []),
    ],
)
def test_hosts(name: str, address: str, expected: list[tuple[str, str]]) -> None:
    assert ids(find(view(hosts=[HostsLine(name, address)], own_names=frozenset({"box"})))) == expected


# --- in a network


@pytest.mark.privileged
@pytest.mark.slow
def test_impostor_of_the_gateway_until_the_right_address_is_fixed(network: Callable[..., Network]) -> None:
    net = network("victim", "gateway", "impostor")
    victim, gateway, impostor = net["victim"], net["gateway"], net["impostor"]
    victim.run("ip", "route", "add", "default", "via", gateway.ip4)

    def known(address: str, hardware: str, *state: str) -> None:
        victim.run("ip", "neigh", "replace", address, "lladdr", hardware, "dev", "eth0", *state)

    with victim.entered():
        known(gateway.ip4, gateway.hardware_address())
        known(impostor.ip4, impostor.hardware_address())
        right = seen()
        assert about(find(right), "eth0", "MI1") == about(find(right), "eth0", "MI2") == []
        known(gateway.ip4, impostor.hardware_address())
        poisoned = seen(before=Remembered(right.gateway_hardware))
        assert about(find(poisoned), "eth0", "MI1") == [("MI1", "high")]
        assert about(find(poisoned), "eth0", "MI2") == [("MI2", "high")]
        (found,) = [one for one in find(poisoned) if one.id == "MI1"]
        (remedy,) = found.commands
        victim.run(*remedy.replace("RIGHT_ADDRESS", gateway.hardware_address()).split())
        mended = seen(before=Remembered(right.gateway_hardware))
        assert about(find(mended), "eth0", "MI1") == about(find(mended), "eth0", "MI2") == []


@pytest.mark.privileged
@pytest.mark.slow
def test_redirects_and_source_routes_until_they_are_switched_off(network: Callable[..., Network]) -> None:
    host = network("host")["host"]
    host.set(ipv4__conf__all__accept_redirects=1, ipv6__conf__eth0__accept_redirects=1)
    host.set(ipv4__conf__all__secure_redirects=0, ipv4__conf__eth0__secure_redirects=0)
    host.set(ipv4__conf__all__accept_source_route=1, ipv4__conf__eth0__accept_source_route=1)
    with host.entered():
        found = [one for one in find(seen()) if one.id == "MI4"]
        assert ids(found) == [("MI4", "low"), ("MI4", "medium"), ("MI4", "medium")]
        for one in found:
            for line in one.commands:
                host.run(*line.split())
        assert [one for one in find(seen()) if one.id == "MI4"] == []
