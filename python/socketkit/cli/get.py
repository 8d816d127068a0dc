"""`socketkit get`: a file from a web server."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .status_line import StatusLine, kept_up_to_date
from .units import amount, duration, plural, rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..http.client import Client
    from ..http.transfers import Download, Report

EPILOG = """\b
Examples:
  socketkit get https://files.example/film.mkv
  socketkit get --connections 4 -o film.mkv https://files.example/film.mkv
  socketkit get 'https://192.168.1.7:8443/~k3v9.../film.mkv#pin=sk1:...'
  socketkit get --sha256 2cf24dba5fb0... https://files.example/release.tar.gz
  socketkit get -o - https://files.example/list.txt | sort

\b
Behind # stands whom to trust, in the words of other addresses (pin, ca, trust): it is never sent.
"""


@click.command("get", epilog=EPILOG)
@click.argument("url")
@click.option("-o", "output", metavar="FILE", help="Where to put it: a file, a folder, or - for standard output.")
@click.option("--force", is_flag=True, help="Write over a file that exists.")
@click.option(
    "--connections", type=click.IntRange(1, 16), default=1, help="Have several parts of a large file come at once."
)
@click.option("--sha256", metavar="HEX", help="Keep it only if this is its SHA-256.")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Send this header, too.")
@click.option(
    "--plaintext", is_flag=True, help="Allow http beyond this machine: it can be read and changed on its way."
)
@click.option("--json", "as_json", is_flag=True, help="At the end, print what it came to as JSON.")
def command(
    url: str,
    output: str | None,
    force: bool,
    connections: int,
    sha256: str | None,
    headers: tuple[str, ...],
    plaintext: bool,
    as_json: bool,
) -> None:
    """Have a file come from a web server.

    What breaks is gone on with where it broke: at once, or by the same command later. A file that is there is not
    written over, and the file has its name when all of it is there.
    """
    try:
        from ..http.client import Client
    except ImportError:
        raise click.ClickException("this needs the package h11: pip install 'socketkit[web]'") from None
    from ..http.url import Url
    from .running import run

    parsed = Url.parse(url)
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise click.UsageError("--sha256 takes 64 hexadecimal digits")
    client = Client(plaintext=plaintext)
    given = [_header(text) for text in headers]
    if output == "-":
        for named, option in ((connections > 1, "--connections"), (sha256, "--sha256"), (as_json, "--json")):
            if named:
                raise click.UsageError(f"{option} is for files: what goes to standard output is gone as it comes")
        run(_copy(client, parsed, given))
    else:
        run(_get(client, parsed, _target(output, parsed.target), given, force, connections, sha256, as_json))


async def _get(
    client: Client,
    url: Any,
    target: Path,
    headers: Sequence[tuple[str, str]],
    force: bool,
    connections: int,
    sha256: str | None,
    as_json: bool,
) -> None:
    from ..http.partial import TargetError
    from ..http.transfers import Download, UnexpectedStatus, WrongDigest

    line = StatusLine()

    def tell(words: str) -> None:
        line.clear()
        click.echo(f"socketkit: {words}", err=True)

    coming = Download(
        client, url, target, headers=headers, overwrite=force, connections=connections, sha256=sha256, tell=tell
    )
    shown = Progress(coming)
    try:
        async with client, kept_up_to_date(line, shown.text):
            report = await coming.run()
    except (UnexpectedStatus, WrongDigest, TargetError) as failure:
        raise click.ClickException(str(failure)) from None
    except TimeoutError:
        raise click.ClickException(f"{url}: the server is silent{_left(coming)}") from None
    except OSError as failure:
        if left := _left(coming):
            failure.add_note(left.removeprefix("; "))
        raise
    click.echo(json.dumps(report._asdict()) if as_json else words_of(report), err=not as_json)


async def _copy(client: Client, url: Any, headers: Sequence[tuple[str, str]]) -> None:
    """To standard output, as it comes."""
    from ..http.transfers import UnexpectedStatus
    from .standard_io import StandardOutput

    sink = StandardOutput()
    try:
        async with client, client.get(url, headers) as response:
            if response.status != 200:
                raise UnexpectedStatus(response.url, response.status, response.reason)
            async for chunk in response:
                await sink.send(chunk)
    except UnexpectedStatus as failure:
        raise click.ClickException(str(failure)) from None
    except TimeoutError:
        raise click.ClickException(f"{url}: the server is silent") from None


class Progress:
    """The line that is shown while it comes."""

    def __init__(self, coming: Download) -> None:
        self._coming = coming
        self._began = asyncio.get_running_loop().time()

    def text(self) -> str:
        there, total = self._coming.there_bytes, self._coming.total_bytes
        seconds = asyncio.get_running_loop().time() - self._began
        speed = self._coming.received_bytes / seconds if seconds else 0.0
        if not total:
            return f"{amount(there)}  {rate(speed)}"
        full = min(BAR_LETTERS, BAR_LETTERS * there // total)
        left = f"  {duration((total - there) / speed)} left" if speed and there < total else ""
        bar = "█" * full + "░" * (BAR_LETTERS - full)
        return f"{bar} {100 * there // total:3d} %  {amount(there)} of {amount(total)}  {rate(speed)}{left}"


def words_of(report: Report) -> str:
    """What it came to, for a person."""
    pieces = [f"{report.file}: {amount(report.total_bytes)}"]
    if report.resumed_bytes:
        pieces.append(f"{amount(report.resumed_bytes)} of it from before")
    if report.connections > 1:
        pieces.append(plural(report.connections, "connection"))
    if report.seconds > 0 and report.received_bytes:
        pieces.append(f"{rate(report.received_bytes / report.seconds)} for {duration(report.seconds)}")
    if report.sha256:
        pieces.append("SHA-256 is right")
    return ", ".join(pieces)


def _left(coming: Download) -> str:
    return f"; {amount(coming.there_bytes)} are kept: the same command goes on there" if coming.resumable else ""


def _target(output: str | None, target: str) -> Path:
    """The file to write: as it was said, or as the address calls it, in this folder."""
    if output is not None and not os.path.isdir(output):
        return Path(output)
    from urllib.parse import unquote

    name = unquote(target.partition("?")[0].rstrip("/").rpartition("/")[2])
    # What a server is called by may not lead out of the folder, hide a file, or play with the terminal.
    name = "".join(letter for letter in name if letter.isprintable() and letter not in "/\\").lstrip(".~- ")[:200]
    return Path(output or ".", name or "index.html")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError("a header is NAME: VALUE")
    return name.strip(), value.strip()


BAR_LETTERS = 24
