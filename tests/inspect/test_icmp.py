"""ICMP as bytes and in words."""

from __future__ import annotations

import struct
from socket import AF_INET, AF_INET6

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.inspect.icmp import Echo, Refusal, checksum, echo_request, parse_echo, without_ip_header


def summed_by_the_book(data: bytes) -> int:
    """RFC 1071, word by word."""
    total = 0
    for (word,) in struct.iter_unpack("!H", data + b"\0" * (len(data) % 2)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(st.binary(max_size=200))
def test_checksum_makes_the_sum_all_ones(data: bytes) -> None:
    even = data + b"\0" * (len(data) % 2)
    assert summed_by_the_book(even + checksum(data).to_bytes(2, "big")) == 0xFFFF


@pytest.mark.parametrize(("family", "kind"), [(AF_INET, 8), (AF_INET6, 128)])
def test_request_is_read_as_it_was_made(family: int, kind: int) -> None:
    message = echo_request(family, 0x1234, 7, b"payload")
    assert parse_echo(message) == Echo(kind, 0x1234, 7, b"payload")
    if family == AF_INET:
        assert summed_by_the_book(message) == 0xFFFF
    else:
        assert message[2:4] == b"\0\0"  # the kernel's to fill in


@given(st.binary(max_size=7))
def test_too_short_for_an_echo(data: bytes) -> None:
    assert parse_echo(data) is None


@given(st.binary(max_size=80))
def test_header_is_taken_off_whatever_comes(data: bytes) -> None:
    assert data.endswith(without_ip_header(data))


def test_header_with_options() -> None:
    assert without_ip_header(b"\x46" + bytes(23) + b"rest") == b"rest"
    assert without_ip_header(b"\x4f" + bytes(23)) == b""


@pytest.mark.parametrize(
    ("refusal", "words", "mark"),
    [
        (Refusal(AF_INET, 11, 0), "hop limit exceeded", ""),
        (Refusal(AF_INET6, 3, 0), "hop limit exceeded", ""),
        (Refusal(AF_INET, 3, 3), "port unreachable", ""),
        (Refusal(AF_INET6, 1, 4), "port unreachable", ""),
        (Refusal(AF_INET, 3, 0), "network unreachable", "!N"),
        (Refusal(AF_INET, 3, 1), "host unreachable", "!H"),
        (Refusal(AF_INET6, 1, 3), "address unreachable", "!H"),
        (Refusal(AF_INET, 3, 13), "administratively prohibited", "!X"),
        (Refusal(AF_INET6, 1, 1), "administratively prohibited", "!X"),
        (Refusal(AF_INET, 3, 4, 1400), "too large for the next network (MTU 1400)", "!F-1400"),
        (Refusal(AF_INET6, 2, 0, 1300), "too large for the next network (MTU 1300)", "!F-1300"),
        (Refusal(AF_INET, 3, 99), "ICMP error of type 3, code 99", "!<3-99>"),
    ],
)
def test_errors_in_words(refusal: Refusal, words: str, mark: str) -> None:
    assert (refusal.words, refusal.mark) == (words, mark)


def test_what_an_error_means() -> None:
    assert Refusal(AF_INET, 11, 0).expired
    assert not Refusal(AF_INET, 11, 1).expired
    assert not Refusal(AF_INET6, 11, 0).expired
    assert Refusal(AF_INET, 3, 3).port_unreachable
    assert Refusal(AF_INET6, 1, 4).port_unreachable
    assert Refusal(AF_INET6, 2, 0).too_big
