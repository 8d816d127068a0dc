"""Filters: what libpcap compiles, what the kernel is given, and programs written as code."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable

import pytest

from socketkit.errors import EndpointError, SocketError, Unsupported
from socketkit.types.filters import COOKED, ETHERNET, Filter

PROTOCOL, INTERFACE, KIND = 0xFFFFF000, 0xFFFFF008, 0xFFFFF004  # linux/filter.h, SKF_AD_OFF
VLAN_TAG, VLAN_TAG_PRESENT = 0xFFFFF02C, 0xFFFFF030
SNAP_BYTES = 262_144


@pytest.mark.parametrize("expression", ["udp port 53", "ip6 and tcp port 443", "host 192.0.2.1 or arp"])
def test_expression_is_compiled_as_tcpdump_does(expression: str, program: Callable[[str], str]) -> None:
    words = [program("tcpdump"), "-y", "EN10MB", "-dd", expression]
    printed = subprocess.run(words, capture_output=True, text=True, check=True, timeout=10).stdout
    theirs = [tuple(int(number, 0) for number in re.findall(r"0x\w+|\d+", line)) for line in printed.splitlines()]
    assert list(Filter(expression).program("lo", ETHERNET, SNAP_BYTES)) == theirs


def test_no_expression_lets_everything_through() -> None:
    assert Filter(" ").program("lo", ETHERNET, SNAP_BYTES) == ()


def test_wrong_expression_is_refused_in_libpcaps_words() -> None:
    with pytest.raises(EndpointError, match=r"no filter: 'udp prot 53': .*syntax error.*pcap-filter"):
        Filter("udp prot 53").program("lo", ETHERNET, SNAP_BYTES)


def test_without_libpcap_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with pytest.raises(Unsupported, match="apt install libpcap"):
        Filter("udp").program("lo", ETHERNET, SNAP_BYTES)
    assert Filter.code([(6, 0, 0, 1)]).program("lo", ETHERNET, SNAP_BYTES) == ((6, 0, 0, 1),)


def test_cooked_link_is_asked_of_the_kernel() -> None:
    program = Filter("ip").program("any", COOKED, SNAP_BYTES)
    assert program == ((0x28, 0, 0, PROTOCOL), (0x15, 0, 1, 0x800), (6, 0, 0, SNAP_BYTES), (6, 0, 0, 0))
    # The packet itself begins where the network's header does: its protocol is at 9.
    assert (0x30, 0, 0, 9) in Filter("udp").program("any", COOKED, SNAP_BYTES)
    assert (0xB1, 0, 0, 0) in Filter("udp port 53").program("any", COOKED, SNAP_BYTES)
    assert (0x20, 0, 0, INTERFACE) in Filter("ifindex 1").program("any", COOKED, SNAP_BYTES)
    assert any(operand == KIND for *_, operand in Filter("outbound").program("any", COOKED, SNAP_BYTES))


def test_what_the_kernel_does_not_tell_is_refused() -> None:
    with pytest.raises(EndpointError, match="name one interface"):
        Filter("link[11] = 6").program("any", COOKED, SNAP_BYTES)


@pytest.mark.privileged
def test_vlan_tag_is_asked_of_the_kernel() -> None:
    operands = {operand for *_, operand in Filter("vlan 5 and udp").program("lo", ETHERNET, SNAP_BYTES)}
    assert {VLAN_TAG, VLAN_TAG_PRESENT} <= operands


def test_vlan_on_all_interfaces_is_refused() -> None:
    with pytest.raises(EndpointError, match="no VLAN support"):
        Filter("vlan 5").program("any", COOKED, SNAP_BYTES)
    with pytest.raises(EndpointError, match="name the interface"):
        Filter("vlan 5").program("*", ETHERNET, SNAP_BYTES)


@pytest.mark.privileged
def test_vlan_on_no_interface_is_an_error() -> None:
    with pytest.raises(SocketError, match="socketkit-none: "):
        Filter("vlan 5").program("socketkit-none", ETHERNET, SNAP_BYTES)


@pytest.mark.parametrize(
    "instructions",
    [[], [(6, 0, 0, 1)] * 4_097, [(6, 0, 0)], [(6, 0, 0, -1)], [(0x10000, 0, 0, 1)], [(6, 256, 0, 1)]],
    ids=["none", "too many", "short", "negative", "code", "jump"],
)
def test_code_that_is_no_program(instructions: list[tuple[int, int, int, int]]) -> None:
    with pytest.raises(ValueError, match=r"instruction|argument"):
        Filter.code(instructions)


def test_filters_are_values() -> None:
    keep = Filter.code([(6, 0, 0, 1)])
    assert Filter("udp ") == Filter("udp") != keep == Filter.code([(6, 0, 0, 1)])
    assert len({Filter("udp"), Filter("udp "), keep}) == 2
    assert (str(Filter("udp")), repr(Filter("udp"))) == ("udp", "Filter('udp')")
    assert repr(keep) == "<Filter: a program of 1 instructions>"
