"""`socketkit trust`: whose keys this user accepts, in known_peers and (`--authorized`) in authorized_peers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from ..authorized_peers import AuthorizedPeers
from ..endpoint import Endpoint
from ..errors import IdentityError
from ..fingerprint import canonical
from ..known_peers import EVERYWHERE, KnownPeers, place_of, read_place
from .units import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..authorized_peers import AuthorizedPeer
    from ..known_peers import KnownPeer

EPILOG = """\b
A place is HOST:PORT, [IPV6]:PORT, the path of a Unix socket, or an address; an address
with pin=sk1:... says the key as well. --authorized means those who may connect to you.

\b
Examples:
  socketkit trust list
  socketkit trust add nas.example:7000 sk1:...
  socketkit trust add --authorized sk1:... "Ann's laptop"
"""

_C = TypeVar("_C", bound="Callable[..., Any]")


@click.group("trust", epilog=EPILOG, subcommand_metavar="COMMAND")
def command() -> None:
    """List, add and remove the keys of peers that you trust."""


def authorized_option(function: _C) -> _C:
    return click.option("--authorized", is_flag=True, help="Those who may connect to you (authorized_peers).")(function)


def json_option(function: _C) -> _C:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


@command.command("list")
@authorized_option
@json_option
def list_(authorized: bool, as_json: bool) -> None:
    """List every key."""
    peers = AuthorizedPeers() if authorized else KnownPeers()
    _print(peers, peers.entries(), as_json=as_json)


@command.command("show")
@click.argument("words", nargs=-1, metavar="PLACE | --authorized SK1")
@authorized_option
@json_option
@click.pass_context
def show(context: click.Context, words: tuple[str, ...], authorized: bool, as_json: bool) -> None:
    """Show the keys of one place, and what is revoked there. Exit status 1 if there is none."""
    found: list[KnownPeer | AuthorizedPeer]
    if authorized:
        (wanted,) = _words(words, "SK1")
        fingerprint, allowed = _fingerprint(wanted), AuthorizedPeers()
        found = [entry for entry in allowed.entries() if entry.fingerprint == fingerprint]
        _print(allowed, found, as_json=as_json)
    else:
        (wanted,) = _words(words, "PLACE")
        place, known = read_place(wanted), KnownPeers()
        known.find(place)  # raises if a line that matters to it cannot be read
        found = [entry for entry in known.entries() if entry.place in (place, EVERYWHERE)]
        _print(known, found, as_json=as_json)
    if not found:
        context.exit(1)


@command.command("add")
@click.argument("words", nargs=-1, metavar="[PLACE] SK1 [COMMENT]")
@click.option("--also", is_flag=True, help="Keep the other keys of the place: a rotation needs two for a while.")
@authorized_option
def add(words: tuple[str, ...], also: bool, authorized: bool) -> None:
    """Accept a key from now on.

    Refused if the place has another key: `replace` is for that, or --also.
    """
    if authorized:
        if also:
            raise click.UsageError("--also goes with a place: authorized peers are as many as you add")
        fingerprint, *comment = _words(words, "SK1", more="COMMENT")
        AuthorizedPeers().add(_fingerprint(fingerprint), " ".join(comment))
    else:
        asked = _asked(words)
        KnownPeers().add(asked.place, asked.fingerprint, asked.comment, also=also)


@command.command("replace")
@click.argument("words", nargs=-1, metavar="PLACE SK1 [COMMENT]")
def replace(words: tuple[str, ...]) -> None:
    """Accept a key instead of those that are known for the place."""
    asked = _asked(words)
    KnownPeers().replace(asked.place, asked.fingerprint, asked.comment)


@command.command("remove")
@click.argument("words", nargs=-1, metavar="PLACE [SK1] | --authorized SK1")
@authorized_option
def remove(words: tuple[str, ...], authorized: bool) -> None:
    """Forget a place, or one key of it. What is revoked stays revoked."""
    if authorized:
        (fingerprint,) = _words(words, "SK1")
        count = AuthorizedPeers().remove(_fingerprint(fingerprint))
    else:
        place, *rest = _words(words, "PLACE", more="SK1")
        if len(rest) > 1:
            raise click.UsageError("write PLACE [SK1]")
        count = KnownPeers().remove(place, _fingerprint(rest[0]) if rest else None)
    if not count:
        raise click.ClickException("no such key is known: `socketkit trust list` shows them")
    click.echo(f"removed {plural(count, 'key')}", err=True)


@command.command("revoke")
@click.argument("words", nargs=-1, metavar="SK1 [PLACE]")
@authorized_option
def revoke(words: tuple[str, ...], authorized: bool) -> None:
    """Never accept a key again, at one place or anywhere."""
    fingerprint, *rest = _words(words, "SK1", more="PLACE")
    if len(rest) > 1 or (authorized and rest):
        raise click.UsageError("write SK1" if authorized else "write SK1 [PLACE]")
    if authorized:
        AuthorizedPeers().revoke(_fingerprint(fingerprint))
    else:
        KnownPeers().revoke(_fingerprint(fingerprint), rest[0] if rest else EVERYWHERE)


class _Asked(NamedTuple):
    place: str
    fingerprint: str
    comment: str


def _asked(words: Sequence[str]) -> _Asked:
    """A place and a key: two words, or one address that has the key in it."""
    first, *rest = _words(words, "PLACE SK1", more="COMMENT")
    if "://" in first:
        endpoint = Endpoint.parse(first)
        if pin := endpoint.query.get("pin"):
            return _Asked(place_of(endpoint), pin, " ".join(rest))
    if not rest:
        raise click.UsageError("write PLACE SK1 [COMMENT]")
    return _Asked(read_place(first), _fingerprint(rest[0]), " ".join(rest[1:]))


def _words(words: Sequence[str], needed: str, *, more: str | None = None) -> Sequence[str]:
    if not words or (more is None and len(words) > 1):
        raise click.UsageError(f"write {needed}{f' [{more}]' if more else ''}")
    return words


def _fingerprint(text: str) -> str:
    try:
        return canonical(text)
    except IdentityError as failure:
        raise click.UsageError(str(failure)) from None


def _print(
    peers: KnownPeers | AuthorizedPeers, entries: Sequence[KnownPeer | AuthorizedPeer], *, as_json: bool
) -> None:
    faults = peers.faults()
    if as_json:
        listed = [entry._asdict() for entry in entries]
        click.echo(json.dumps({"file": peers.path, "keys": listed, "faults": faults}, indent=2))
        return
    rows = [(getattr(entry, "place", ""), entry) for entry in entries]
    width = max((len(place) for place, _ in rows), default=0)
    for place, entry in rows:
        place = f"{place:{width}}  " if width else ""
        comment = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in entry.comment)
        remark = f"  {'revoked ' if entry.revoked else ''}{comment}".rstrip()
        click.echo(f"{place}{entry.fingerprint}{remark}")
    for fault in faults:
        click.echo(f"socketkit: {peers.path}, {fault}", err=True)
