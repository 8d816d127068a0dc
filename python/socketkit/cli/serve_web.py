"""`socketkit serve web`: a folder, a file or an ASGI application, for who has the link."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..hosting import place
from .hosting import Manner as HostingManner
from .hosting import ending_options, place_options, run_hosted, summary, wanted_of
from .peer_screen import JsonEvents
from .units import parsed_amount, parsed_span, plural

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from ..hosting import Hosted
    from ..hosting.places import Wanted
    from ..http import Access
    from ..uses.web.service import Site

_T = TypeVar("_T")

EPILOG = """\b
Examples:
  socketkit serve web
  socketkit serve web --lan ~/Pictures
  socketkit serve web --lan --once report.pdf
  socketkit serve web --for 1h --lan --log access.log music
  socketkit serve web --on '*' --port 8443 --password ~/.web-password films
  socketkit serve web --lan --upload --quota 20G inbox
  socketkit serve web shop:app

\b
Without --lan or --on only this machine reaches it, in plain text. On the network it is encrypted. Either
way the link has a token, which is the key: whoever has the link is let in. --public takes it out of
the link, --password asks for a password instead.

\b
MODULE:APP is an ASGI application (Starlette, FastAPI, Django's get_asgi_application()), imported from
this folder. Without --upload nothing can be changed in a folder that is served; no link leads out of it.
"""


@click.command("serve web", epilog=EPILOG)
@click.argument("target", metavar="[FOLDER|FILE|MODULE:APP]", default=".")
@click.option("--hidden", is_flag=True, help="Serve names with a dot in front, too.")
@click.option("--no-list", "unlisted", is_flag=True, help="Do not show what is in a folder: names must be known.")
@click.option(
    "--password", "password_from", metavar="FILE|-",
    help="Ask for the password that is in this file (-: type it in), in place of the link's token.",
)  # fmt: skip
@click.option(
    "--log", "log", metavar="FILE|-", help="Write a line for each answer there (-: stdout), JSON with --json."
)
@click.option("--upload", is_flag=True, help="Take files into the folder: from its page, by curl -T, by tus.")
@click.option("--overwrite", is_flag=True, help="Let uploads replace files that are there.")
@click.option("--max-size", metavar="SIZE", help="What one upload may have (default: 64Gi).")
@click.option("--quota", metavar="SIZE", help="What the folder may have with all that is uploaded.")
@click.option("--keep-unfinished", metavar="TIME", help="Remove uploads that nobody goes on with after this (1d).")
@click.option(
    "--give",
    "gifts",
    metavar="PATH",
    multiple=True,
    help="Print a link to this file alone, good once within a day; repeatable.",
)
@place_options
@ending_options
def command(
    target: str,
    hidden: bool,
    unlisted: bool,
    password_from: str | None,
    log: str | None,
    upload: bool,
    overwrite: bool,
    max_size: str | None,
    quota: str | None,
    keep_unfinished: str | None,
    gifts: tuple[str, ...],
    seconds: float | None,
    once: bool,
    as_json: bool,
    qr: bool | None,
    **options: Any,
) -> None:
    """Serve a folder (default: this one), a file or an ASGI application.

    Prints the link to hand out, and shows who is there and what he fetches. With --once, one file is served until
    somebody has all of it.
    """
    from ..uses.web.loading import NoApplication
    from ..uses.web.service import Manner, Site

    wanted = wanted_of(options)
    if password_from is not None and wanted.token_file is not None:
        raise click.UsageError("--token-file keeps the link's token, and --password stands in place of that")
    password = None if password_from is None else _password(password_from)
    if password is not None:
        if wanted.plaintext:
            raise click.UsageError("--password over a network needs encryption: leave --plaintext out")
        wanted = wanted._replace(public=True)  # the password is asked for in place of the token
    try:
        bounds = (
            _amount("--max-size", max_size),
            _amount("--quota", quota),
            _span("--keep-unfinished", keep_unfinished),
        )
        site = Site(target, Manner(hidden, not unlisted, password, once, upload, overwrite, *bounds))
    except (NoApplication, ValueError) as fault:
        raise click.UsageError(str(fault)) from None
    except FileNotFoundError as fault:
        raise click.UsageError(f"{target}: {_not_found(fault, target)}") from None
    try:
        _check_gifts(site, gifts)
        _serve(site, wanted, HostingManner(seconds, False, as_json, qr), log, gifts)
    finally:
        site.close()


def _serve(site: Site, wanted: Wanted, manner: HostingManner, log: str | None, gifts: tuple[str, ...]) -> None:
    with AccessLog(log, as_json=manner.as_json) as requests:
        where = place(wanted)
        run_hosted(
            site.opened(where, access=requests.tell),
            where,
            manner,
            facts=lambda: {"requests": requests.count, "refused": requests.refused},
            words=lambda hosted: _words(requests, hosted),
            hint=lambda hosted: "\n".join(
                [f"serving {site.name}", *_links(site, hosted, gifts, as_json=manner.as_json)]
            ),
        )


def _check_gifts(site: Site, gifts: tuple[str, ...]) -> None:
    """Before anything listens: whether each can be given."""
    for path in gifts:
        if site.tree is None:
            raise click.UsageError("--give gives a file of a folder, and this is an application")
        opened = site.tree.open(path)
        if opened is None:
            raise click.UsageError(f"--give {path}: nothing of this name is served; it is a path within {site.name}")
        with opened:
            if opened.is_folder:
                raise click.UsageError(f"--give {path}: a link gives one file, and this is a folder")


def _links(site: Site, hosted: Hosted, gifts: tuple[str, ...], *, as_json: bool) -> list[str]:
    """A line for each; with --json also an event, as a program reads no stderr."""
    if site.links is None:
        return []
    links = [(path, f"{hosted.link.base}{site.links.make(path, seconds=GIFT_SECONDS)}") for path in gifts]
    if as_json:
        for path, url in links:
            JsonEvents().say(event="link", path=path, url=url, uses=1, seconds=GIFT_SECONDS)
    return [f"once: {url}" for _, url in links]


class AccessLog:
    """Counts answers, and writes a line for each where that was asked for; with --json they go to stdout anyway."""

    def __init__(self, path: str | None, *, as_json: bool) -> None:
        self.count = 0
        self.refused = 0
        """Answers of 400 and above."""
        self._as_json = as_json
        self._to_stdout = path == "-" or (path is None and as_json)
        self._file = None
        if path is not None and path != "-":
            # Line by line, so that `tail -f` sees them; only for this user, for it says who was here.
            self._file = os.fdopen(os.open(path, FLAGS, 0o600), "a", buffering=1, encoding="utf-8")

    def tell(self, access: Access) -> None:
        self.count += 1
        self.refused += access.status >= 400
        if self._file is None and not self._to_stdout:
            return
        line = self._line(access)
        if self._file is None:
            click.echo(line)
        else:
            self._file.write(f"{line}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def _line(self, access: Access) -> str:
        import json

        from ..uses.web import access_log

        return json.dumps(access_log.as_json(access)) if self._as_json else access_log.as_text(access)


def _words(requests: AccessLog, hosted: Hosted) -> str:
    refused = f", {requests.refused:,} refused" if requests.refused else ""
    return f"answered {plural(requests.count, 'request')}{refused}\n{summary(hosted)}"


def _amount(option: str, text: str | None) -> int | None:
    return None if text is None else _parsed(option, text, parsed_amount)


def _span(option: str, text: str | None) -> float | None:
    return None if text is None else _parsed(option, text, parsed_span)


def _parsed(option: str, text: str, parse: Callable[[str], _T]) -> _T:
    try:
        return parse(text)
    except ValueError as fault:
        raise click.UsageError(f"{option} {text}: {fault}") from None


def _password(path: str) -> str:
    """The password in a file that only its owner reads, or what is typed in."""
    if path == "-":
        return str(click.prompt("password", hide_input=True, confirmation_prompt=True, err=True))
    try:
        with open(path, encoding="utf-8") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise click.UsageError(f"others can read {path}: chmod 600 {path}")
            password = file.readline(MOST_LETTERS).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as fault:
        raise click.UsageError(f"--password {path}: {fault}") from None
    if not password:
        raise click.UsageError(f"{path} has no password in its first line")
    return password


def _not_found(fault: OSError, target: str) -> str:
    if fault.strerror and not fault.strerror.startswith("No such"):
        return fault.strerror
    name, colon, _ = target.partition(":")
    if colon:
        return f"there is no such file; an application is written MODULE:APP, and {name} has to be a module's name"
    return f"there is no such folder or file; an application is written MODULE:APP ({target}:app)"


FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
MOST_LETTERS = 1_024
GIFT_SECONDS = 86_400
