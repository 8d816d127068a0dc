"""Filters: what the kernel lets through to a socket that hears everything on a link.

A filter is an expression as tcpdump takes it (man 7 pcap-filter), compiled by libpcap, or a program of classic BPF. The
kernel runs it before a packet is queued, so what it refuses costs next to nothing.
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Any

from ..errors import EndpointError, SocketError, Unsupported, raisable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Instruction = tuple[int, int, int, int]

ETHERNET, COOKED = 1, 276  # link types (tcpdump.org/linktypes); cooked: LINKTYPE_LINUX_SLL2


class Filter:
    """Which packets are wanted. Frozen; `str` is what it was made of, for people.

    `Filter("udp port 53")` is an expression; `Filter.code([...])` a program, for what packets of that link begin with:
    Ethernet's header, or of a cooked link the network's.
    """

    __slots__ = ("_program", "_text")

    def __init__(self, expression: str) -> None:
        self._text = expression.strip()
        self._program: tuple[Instruction, ...] | None = None

    @classmethod
    def code(cls, instructions: Iterable[Instruction]) -> Filter:
        """A program, as `tcpdump -dd` prints it: (code, jump_true, jump_false, operand) each; ValueError otherwise."""
        program = tuple(instructions)
        if not 0 < len(program) <= LONGEST_PROGRAM:
            raise ValueError(f"a program has 1 to {LONGEST_PROGRAM} instructions, and this one {len(program)}")
        for number, instruction in enumerate(program):
            if not all(0 <= value <= most for value, most in zip(instruction, LARGEST, strict=True)):
                raise ValueError(f"no instruction: number {number}, {instruction!r}")
        made = cls("")
        made._text, made._program = f"a program of {len(program)} instructions", program
        return made

    def program(self, interface: str, link_type: int, snap_bytes: int) -> tuple[Instruction, ...]:
        """For packets of this link; empty lets everything through.

        Names in an expression (`host example.org`) are looked up, so this may take its time. EndpointError if the
        expression is none, Unsupported without libpcap.
        """
        if self._program is not None:
            return self._program
        if not self._text:
            return ()
        program = tuple(_compiled(self._text, interface, link_type, snap_bytes))
        return tuple(_as_the_kernel_sees_it(program, self._text)) if link_type == COOKED else program

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Filter({self._text!r})" if self._program is None else f"<Filter: {self._text}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and (self._text, self._program) == (other._text, other._program)

    def __hash__(self) -> int:
        return hash((self._text, self._program))


def _compiled(expression: str, interface: str, link_type: int, snap_bytes: int) -> Iterator[Instruction]:
    """By libpcap."""
    import ctypes

    class Program(ctypes.Structure):
        class Instruction(ctypes.Structure):
            _fields_ = (
                ("code", ctypes.c_ushort),
                ("jump_true", ctypes.c_ubyte),
                ("jump_false", ctypes.c_ubyte),
                ("operand", ctypes.c_uint32),
            )

        _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(Instruction)))

    libpcap = _libpcap()
    handle = _handle(libpcap, expression, interface, link_type, snap_bytes)
    program = Program()
    try:
        if libpcap.pcap_compile(handle, ctypes.byref(program), expression.encode(), 1, NETMASK_UNKNOWN) != 0:
            words = libpcap.pcap_geterr(handle).decode(errors="replace")
            raise EndpointError(f"no filter: {expression!r}: {words}", "", 0, "man 7 pcap-filter")
        try:
            for instruction in program.instructions[: program.length]:
                yield instruction.code, instruction.jump_true, instruction.jump_false, instruction.operand
        finally:
            libpcap.pcap_freecode(ctypes.byref(program))
    finally:
        libpcap.pcap_close(handle)


def _handle(libpcap: Any, expression: str, interface: str, link_type: int, snap_bytes: int) -> int:
    """What the compiler asks about the link.

    The kernel keeps the outermost VLAN tag beside the packet, and a program asks for it by an extension. libpcap writes
    such a program only for an interface that it has open itself.
    """
    import ctypes

    if link_type != ETHERNET or not re.search(r"\bvlan\b", expression):
        opened = libpcap.pcap_open_dead(link_type, snap_bytes)
        if opened is None:
            raise MemoryError
        return int(opened)
    if interface in ("any", "*"):
        reason = f"VLAN tags can be filtered on one interface only: {expression!r}"
        raise EndpointError(reason, "", 0, "name the interface")
    text = ctypes.create_string_buffer(256)
    handle = libpcap.pcap_create(interface.encode(), text)
    if handle is None:
        raise raisable(SocketError)("filter", None, f"{interface}: {text.value.decode(errors='replace')}", errno.EINVAL)
    libpcap.pcap_set_snaplen(handle, snap_bytes)
    libpcap.pcap_set_buffer_size(handle, 65_536)
    if libpcap.pcap_activate(handle) < 0:
        words = libpcap.pcap_geterr(handle).decode(errors="replace")
        libpcap.pcap_close(handle)
        raise raisable(SocketError)("filter", None, f"{interface}: {words}", errno.EPERM)
    return int(handle)


def _libpcap() -> Any:
    import ctypes

    for name in ("libpcap.so.0.8", "libpcap.so.1"):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        for function in ("pcap_open_dead", "pcap_create"):
            getattr(library, function).restype = ctypes.c_void_p
        library.pcap_geterr.restype = ctypes.c_char_p
        for function in (
            "pcap_geterr",
            "pcap_close",
            "pcap_compile",
            "pcap_activate",
            "pcap_set_snaplen",
            "pcap_set_buffer_size",
        ):
            # An int would lose the upper half of the pointer.
            first = [ctypes.c_void_p]
            more = {
                "pcap_compile": [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint32],
                "pcap_geterr": [],
                "pcap_close": [],
                "pcap_activate": [],
            }.get(function, [ctypes.c_int])
            getattr(library, function).argtypes = first + more
        library.pcap_open_dead.argtypes = [ctypes.c_int, ctypes.c_int]
        library.pcap_create.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
        return library
    reason = "filters in words need libpcap, which is not installed: apt install libpcap0.8"
    raise raisable(Unsupported)("filter", None, reason, errno.ENOSYS)


def _as_the_kernel_sees_it(program: tuple[Instruction, ...], expression: str) -> Iterator[Instruction]:
    """The program for a cooked link, whose header is made only when the packet is taken.

    libpcap's program reads the header; the kernel has the packet behind it, and what the header says beside that
    (linux/filter.h, SKF_AD). libpcap does the same to programs that it attaches itself.
    """
    beside = {0: SKF_AD_PROTOCOL, 4: SKF_AD_IFINDEX, 10: SKF_AD_PKTTYPE}
    for code, jump_true, jump_false, operand in program:
        loads_packet = code & 0x07 in (BPF_LD, BPF_LDX) and code & 0xE0 in (BPF_ABS, BPF_IND, BPF_MSH)
        if loads_packet and operand < SKF_AD_OFF:
            if operand >= COOKED_BYTES:
                operand -= COOKED_BYTES
            elif operand in beside:
                operand = SKF_AD_OFF + beside[operand]
            else:
                reason = f"the kernel cannot filter by this on all interfaces: {expression!r}"
                raise EndpointError(reason, "", 0, "name one interface")
        yield code, jump_true, jump_false, operand


LONGEST_PROGRAM = 4_096  # BPF_MAXINSNS
LARGEST = (0xFFFF, 0xFF, 0xFF, 0xFFFFFFFF)  # of an instruction's parts
NETMASK_UNKNOWN = 0xFFFFFFFF
COOKED_BYTES = 20
BPF_LD, BPF_LDX, BPF_ABS, BPF_IND, BPF_MSH = 0x00, 0x01, 0x20, 0x40, 0xA0
SKF_AD_OFF, SKF_AD_PROTOCOL, SKF_AD_PKTTYPE, SKF_AD_IFINDEX = 0xFFFFF000, 0, 4, 8
