"""Which addresses are meant."""

from __future__ import annotations

import asyncio
from socket import AF_INET, AF_INET6, gaierror, if_nametoindex

import pytest

from socketkit.inspect.targets import MAX_TARGETS, Target, TargetError, key_of, read, resolve


def test_addresses_and_names() -> None:
    known, names = read(["192.0.2.1", "[2001:db8::1]", "2001:DB8::2", "example.org", "192.0.2.1"])
    assert [(target.family, target.address) for target in known] == [
        (AF_INET, "192.0.2.1"),
        (AF_INET6, "2001:db8::1"),
        (AF_INET6, "2001:db8::2"),
    ]
    assert names == ["example.org"]


def test_zone() -> None:
    ((target,), _) = read(["fe80::1%lo"])
    assert target.sockaddr == ("fe80::1", 0, 0, if_nametoindex("lo"))
    assert target.key == key_of(("fe80::1", 9, 0, if_nametoindex("lo"))) != key_of(("fe80::1", 0, 0, 0))
    with pytest.raises(TargetError, match="no interface nowhere0"):
        read(["fe80::1%nowhere0"])


def test_network() -> None:
    known, _ = read(["192.0.2.0/29"])
    assert [target.address for target in known] == [f"192.0.2.{last}" for last in range(1, 7)]
    assert all(target.swept for target in known)
    ((one,), _) = read(["2001:db8::5/128"])
    assert one.sockaddr == ("2001:db8::5", 0, 0, 0)


@pytest.mark.parametrize("network", ["10.0.0.0/15", "2001:db8::/64", "0.0.0.0/0", "::/0"])
def test_bound_on_a_sweep_is_named(network: str) -> None:
    with pytest.raises(TargetError, match="at most 65,536: sweep it in parts of /1"):
        read([network])


def test_bound_on_all_together() -> None:
    assert len(read(["10.0.0.0/16"])[0]) == MAX_TARGETS - 2
    with pytest.raises(TargetError):
        read(["10.0.0.0/16", "10.1.0.0/29"])
    with pytest.raises(TargetError, match=r"more than 65,536"):
        read(["10.0.0.0/16", "a", "b", "c"])


@pytest.mark.parametrize("host", ["", "a b", "x" * 254, "\x1b[2J", "192.0.2.1/33", "name/24"])
def test_no_host(host: str) -> None:
    with pytest.raises(TargetError, match=r"no host|no network"):
        read([host])


def test_nothing_asked() -> None:
    with pytest.raises(TargetError, match="no host"):
        read([])


def test_family() -> None:
    assert read(["192.0.2.1", "192.0.2.0/30"], AF_INET)[0]
    for host in ("192.0.2.1", "192.0.2.0/30"):
        with pytest.raises(TargetError, match="no IPv6 address"):
            read([host], AF_INET6)


def test_resolve() -> None:
    assert asyncio.run(resolve("localhost", AF_INET)) == Target("localhost", AF_INET, ("127.0.0.1", 0))
    with pytest.raises(gaierror):
        asyncio.run(resolve("nowhere.invalid"))
