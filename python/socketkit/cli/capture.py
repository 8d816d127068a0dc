"""`socketkit capture`: what goes over an interface, as lines or in pcapng files."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from .units import amount, duration, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._core import Packet
    from ..inspect.capture import Recording

EPILOG = """\b
Examples:
  socketkit capture eth0
  socketkit capture any udp port 53
  socketkit capture eth0 -w trace.pcapng -c 10000 tcp port 443 and host 192.0.2.1
  socketkit capture eth0 -w trace.pcapng --rotate 100M --files 10
  socketkit capture lo -w - | tshark -r -

\b
FILTER is an expression as tcpdump takes it (man 7 pcap-filter). It needs CAP_NET_RAW: use sudo. Ctrl-C
ends it; what had come in by then is printed, or in the file, which is whole in any case.

\b
Lines: time, interface, direction (In, Out, B broadcast, M multicast, P for another machine), from > to,
what the headers say, and the length on the wire.
"""


def _size(context: click.Context, parameter: click.Parameter, text: str) -> int:
    """`100M`: a number of bytes."""
    number = _number(text, SIZES)
    if number is None:
        raise click.BadParameter(f"no size: {text}, write 512k, 100M or 2G")
    return int(number)


def _rotation(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[int | None, float | None] | None:
    """`100M` or `60s`: when the next file is begun, as (bytes, seconds)."""
    if text is None:
        return None
    if text[-1:] in TIMES and (seconds := _number(text, TIMES)) is not None:
        return None, seconds
    size = _number(text, SIZES)
    if size is None:
        raise click.BadParameter(f"neither a size nor a time: {text}, write 100M, 2G, 60s, 15m or 1h")
    return int(size), None


def _number(text: str, units: dict[str, int]) -> float | None:
    digits, factor = (text[:-1], units[text[-1:]]) if text[-1:] in units else (text, 1)
    if not digits.isascii() or not digits.replace(".", "", 1).isdigit():
        return None
    return float(digits) * factor if float(digits) * factor >= 1 else None


@click.command("capture", epilog=EPILOG)
@click.argument("interface")
@click.argument("expression", nargs=-1, metavar="[FILTER...]")
@click.option("-w", "--write", "target", metavar="FILE", help="Write pcapng to a file; - is standard output.")
@click.option("-c", "--count", type=click.IntRange(min=1), help="End after so many packets.")
@click.option(
    "--snap",
    "snap_bytes",
    type=click.IntRange(1, 262_144),
    default=262_144,
    metavar="BYTES",
    help="Of each packet, keep so much.",
)
@click.option("--promiscuous", is_flag=True, help="Also what is for other machines.")
@click.option(
    "--rotate",
    "rotation",
    callback=_rotation,
    metavar="SIZE|TIME",
    help="Begin a next file when one is so long, or so old.",
)
@click.option("--files", type=click.IntRange(min=1), help="With --rotate: keep the last so many.")
@click.option(
    "--buffer",
    "buffer_bytes",
    callback=_size,
    default="32M",
    show_default=True,
    metavar="SIZE",
    help="What the kernel may keep for us.",
)
@click.option("-v", "--print", "lines", is_flag=True, help="With -w: print lines too.")
@click.option("--json", "as_json", is_flag=True, help="Packets as JSON lines (without -w), then the summary as one.")
def command(
    interface: str,
    expression: Sequence[str],
    target: str | None,
    count: int | None,
    snap_bytes: int,
    promiscuous: bool,
    rotation: tuple[int | None, float | None] | None,
    files: int | None,
    buffer_bytes: int,
    lines: bool,
    as_json: bool,
) -> None:
    """Show what goes over an interface, or write it to files.

    The interface `any` is all of them. Prints a line for each packet; the files are for Wireshark and its like.
    """
    from ..inspect.capture import LARGEST_BUFFER_BYTES
    from .running import run

    if target is None and (rotation or files or lines):
        raise click.UsageError("--rotate, --files and --print go with -w FILE")
    if files and not rotation:
        raise click.UsageError("--files says how many are kept: with --rotate SIZE or TIME")
    if target == "-" and (rotation or lines or as_json):
        raise click.UsageError("with -w -, standard output is the file, and the only one")
    if target == "-" and sys.stdout.isatty():
        raise click.UsageError("a capture file is not for a terminal: write `-w FILE`, or pipe it into a program")
    if buffer_bytes > LARGEST_BUFFER_BYTES:
        raise click.UsageError(f"--buffer is at most {LARGEST_BUFFER_BYTES >> 30}G")
    what = _What(interface, " ".join(expression), snap_bytes, promiscuous, buffer_bytes, count)
    if target is None:
        run(_print(what, as_json=as_json))
    else:
        run(_write(what, target, rotation or (None, None), files, lines=lines, as_json=as_json))


class _What:
    def __init__(
        self, interface: str, expression: str, snap_bytes: int, promiscuous: bool, buffer_bytes: int, count: int | None
    ) -> None:
        self.interface, self.count = interface, count
        self.source: dict[str, Any] = {
            "filter": expression,
            "snap_bytes": snap_bytes,
            "promiscuous": promiscuous,
            "buffer_bytes": buffer_bytes,
        }


async def _print(what: _What, *, as_json: bool) -> None:
    from ..inspect.capture import capture
    from .status_line import StatusLine, kept_up_to_date

    text = _as_json if as_json else Lines()
    tally = Tally()
    line = StatusLine()
    if sys.stdout.isatty():
        line.hide()
    async with capture(what.interface, **what.source) as packets:

        def put(batch: list[Packet]) -> None:
            tally.packets += len(batch)
            sys.stdout.write("".join(map(text, batch)))
            sys.stdout.flush()

        _greet(what)
        try:
            async with kept_up_to_date(line, lambda: tally.line(packets.dropped)):
                while what.count is None or tally.packets < what.count:
                    most = BATCH if what.count is None else min(BATCH, what.count - tally.packets)
                    put(await packets.receive_many(most))
        except BrokenPipeError:
            raise
        except BaseException:
            put((await packets.rest())[: None if what.count is None else what.count - tally.packets])
            raise
        finally:
            _sum_up(tally.summary(packets.dropped), as_json=as_json)


async def _write(
    what: _What,
    target: str,
    rotation: tuple[int | None, float | None],
    files: int | None,
    *,
    lines: bool,
    as_json: bool,
) -> None:
    from ..inspect.capture import capture_to
    from .status_line import StatusLine, kept_up_to_date

    recording = capture_to(
        sys.stdout.fileno() if target == "-" else target,
        what.interface,
        count=what.count,
        rotate_bytes=rotation[0],
        rotate_seconds=rotation[1],
        files=files,
        shown=lines,
        **what.source,
    )
    tally = Tally()

    def so_far() -> str:
        tally.packets = recording.packets
        return f"{tally.line(recording.dropped)}, {amount(recording.written_bytes)} written"

    line = StatusLine()
    if lines and sys.stdout.isatty():
        line.hide()
    try:
        async with recording:
            _greet(what)
            async with kept_up_to_date(line, so_far):
                await (_show(recording, as_json=as_json) if lines else recording.ended())
    finally:
        tally.packets = recording.packets
        if tally.packets or recording.files:
            summary = tally.summary(recording.dropped) | {"written_bytes": recording.written_bytes}
            _sum_up(summary | {"files": recording.files, "file": target}, as_json=as_json)


async def _show(recording: Recording, *, as_json: bool) -> None:
    text = _as_json if as_json else Lines()
    unshown = 0
    while batch := await recording.shown():
        sys.stdout.write("".join(map(text, batch)))
        if (left_out := recording.unshown) > unshown:
            click.echo(f"({plural(left_out - unshown, 'packet')} written, not shown)", err=True)
            unshown = left_out
        sys.stdout.flush()


class Tally:
    """How many packets, in what time."""

    def __init__(self) -> None:
        self.packets = 0
        self._began_at = self._asked_at = time.monotonic()
        self._asked = 0

    def line(self, dropped: int) -> str:
        """With the rate since it was asked for the last time."""
        now = time.monotonic()
        rate = (self.packets - self._asked) / max(now - self._asked_at, 1e-9)
        self._asked, self._asked_at = self.packets, now
        return f"{plural(self.packets, 'packet')} ({rate:,.0f}/s), {dropped:,} dropped by kernel"

    def summary(self, dropped: int) -> dict[str, int | float | str]:
        seconds = round(time.monotonic() - self._began_at, 3)
        return {"captured": self.packets, "dropped": dropped, "seconds": seconds}


def _greet(what: _What) -> None:
    where = "all interfaces" if what.interface == "any" else what.interface
    wanted = f", {what.source['filter']}" if what.source["filter"] else ""
    click.echo(f"listening on {where}{wanted}", err=True)


def _sum_up(summary: dict[str, int | float | str], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(summary))
        return
    file = ""
    if "file" in summary:
        name = {"-": "standard output"}.get(str(summary["file"]), str(summary["file"]))
        many = f" in {summary['files']} files" if int(summary["files"]) > 1 else ""
        file = f" into {name}{many} ({amount(float(summary['written_bytes']))})"
    captured = f"{plural(int(summary['captured']), 'packet')} captured{file}"
    click.echo(
        f"{captured}, {summary['dropped']:,} dropped by kernel, in {duration(float(summary['seconds']))}", err=True
    )


class Lines:
    """Packets as lines that begin with the local time."""

    def __init__(self) -> None:
        self._second, self._clock = -1, ""

    def __call__(self, packet: Packet) -> str:
        second, rest = divmod(packet.timestamp_ns, 1_000_000_000)
        if second != self._second:
            self._second, self._clock = second, time.strftime("%H:%M:%S", time.localtime(second))
        return f"{self._clock}.{rest // 1000:06} {packet}\n"


def _as_json(packet: Packet) -> str:
    return (
        json.dumps(
            {
                "timestamp_ns": packet.timestamp_ns,
                "interface": packet.interface,
                "direction": packet.direction,
                "wire_bytes": packet.wire_bytes,
                "captured_bytes": len(packet.data),
                "summary": packet.summary(),
            }
        )
        + "\n"
    )


BATCH = 4096
SIZES = {"k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
TIMES = {"s": 1, "m": 60, "h": 3600}
