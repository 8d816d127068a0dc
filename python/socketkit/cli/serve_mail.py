"""`socketkit serve mail`: catches every mail that programs under test send, and shows what was seen of them."""

from __future__ import annotations

import json
from asyncio import timeout
from contextlib import nullcontext, suppress
from errno import EADDRINUSE
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..endpoint import Endpoint
from ..errors import ListenError
from ..identity import Identity
from ..listener import acts
from ..uses.mail.database import KEEP
from ..uses.mail.failures import Failures
from ..uses.mail.smtp_events import BOUNDS
from ..uses.mail.told import caught_as_json
from .arguments import address_option
from .hosting import token_option
from .mail_lines import caught_line, finding_line, settings
from .units import parsed_span, plural

if TYPE_CHECKING:
    from typing import Any

    from ..hosting import Link
    from ..uses.mail.seen import Client
    from ..uses.mail.serving import Catcher
    from ..uses.mail.store import Store

EPILOG = """\b
Examples:
  socketkit serve mail
  socketkit serve mail --for 10m --json > caught.jsonl
  socketkit serve mail --keep mail.db
  socketkit serve mail --fail 'rcpt=451@10%' --fail 'data=552@3x' --seed 7
  socketkit serve mail --fail 'rcpt:*@gone.example=550' --fail mail=delay:2s --fail connect=drop@5%
  socketkit serve mail --smtp 'tls://*:2525?public=yes'
  socketkit serve mail --no-inbox

\b
Without addresses it takes the usual ports of such catchers on loopback (SMTP 1025, SMTP under TLS
1465, IMAP 1143, POP3 1110, the inbox 8025), or free ones where they are taken, and prints settings
to paste. STARTTLS is offered on the plain ports, and any password is taken. No mail leaves this
machine. The inbox is a page for browsers, and a JSON API under the same link.

\b
A failure is STAGE[:ADDRESS]=WHAT[@WHEN]. Stages: connect, helo, auth, mail, rcpt, data. What: a
reply (451, '550 My words'), drop, or delay:2s. When: @10% of the times, or @3x, the first three.
"""


@click.command("serve mail", epilog=EPILOG)
@address_option("--smtp", "Where to listen for SMTP in plain text, with STARTTLS.")
@address_option("--smtps", "Where to listen for SMTP under TLS.")
@address_option("--imap", "Where to listen for IMAP: STARTTLS on tcp://, or tls://.")
@address_option("--pop3", "Where to listen for POP3: STLS on tcp://, or tls://.")
@address_option("--inbox", "Where to serve the inbox; its link has a token wherever that is.")
@click.option("--no-inbox", is_flag=True, help="Serve no inbox.")
@token_option
@click.option("--fail", "rules", multiple=True, metavar="RULE", help="Fail so; may be given several times.")
@click.option("--seed", type=int, metavar="N", help="The dice of --fail; what they were is printed.")
@click.option("--keep", "path", metavar="FILE", help="Keep mail in this file (SQLite) and not in memory.")
@click.option(
    "--most",
    "most_mails",
    type=click.IntRange(1),
    default=KEEP.most_mails,
    show_default=True,
    metavar="N",
    help="Keep so many mails; the oldest go first, also after 7 days or above 256 MiB.",
)
@click.option(
    "--size",
    "most_bytes",
    type=click.IntRange(1_024, 100_000_000),
    default=BOUNDS.message_bytes,
    show_default=True,
    metavar="BYTES",
    help="Refuse larger mails.",
)
@click.option("--certificate", "certificate", metavar="FILE", help="Write the certificate there, for clients to trust.")
@click.option("--for", "span", metavar="TIME", help="End after so long: 90s, 10m, 1h30m.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each mail, and for each client.")
def command(
    smtp: Endpoint | None,
    smtps: Endpoint | None,
    imap: Endpoint | None,
    pop3: Endpoint | None,
    inbox: Endpoint | None,
    no_inbox: bool,
    token_file: str | None,
    rules: tuple[str, ...],
    seed: int | None,
    path: str | None,
    most_mails: int,
    most_bytes: int,
    certificate: str | None,
    span: str | None,
    as_json: bool,
) -> None:
    """Catch every mail that programs send, and show what was seen of them.

    Prints the link of an inbox to look at them; a line for each mail, with whether it came encrypted; and for each
    program that sent a password in plain text, or broke a rule that matters, what is wrong and what helps.
    """
    from .running import run

    if inbox is not None and no_inbox:
        raise click.UsageError("--inbox and --no-inbox contradict each other")
    if token_file is not None and no_inbox:
        raise click.UsageError("--token-file is for the link of the inbox: leave --no-inbox out")
    try:
        seconds = None if span is None else parsed_span(span)
    except ValueError as fault:
        raise click.UsageError(f"--for {span}: {fault}") from None
    failures = Failures(rules, seed)
    keep = KEEP._replace(most_mails=most_mails)
    identity = Identity.of_user()
    if certificate is not None:
        Path(certificate).write_text(identity.certificate)
    bounds = BOUNDS._replace(message_bytes=most_bytes)

    async def main() -> None:
        from ..uses.mail.store import Store
        from .mail_inbox import served

        async with Store(path, keep=keep) as store:
            screen = _Screen(store, as_json=as_json)
            asked = {"smtp": smtp, "smtps": smtps, "imap": imap, "pop3": pop3}
            options = {"failures": failures, "bounds": bounds, "identity": identity, "told": screen.tell_client}
            catcher = await _open(store, asked, options)
            boxed = nullcontext() if no_inbox else served(store, catcher.addresses, asked=inbox, token_file=token_file)
            async with catcher, boxed as link:
                screen.begin(catcher, link, failures if rules else None, certificate)
                try:
                    with suppress(TimeoutError):
                        async with timeout(seconds):
                            await screen.follow()
                finally:
                    screen.end(catcher)

    run(main())


async def _open(store: Store, asked: dict[str, Endpoint | None], options: dict[str, Any]) -> Catcher:
    """Listening: where it was asked to, else on the usual ports, or on free ones where these are taken."""
    from ..uses.mail.serving import Catcher

    wanted = {name: given or Endpoint.parse(USUAL[name]) for name, given in asked.items()}
    for _ in range(len(wanted) + 1):
        catcher = Catcher(store, **{**options, **wanted})
        try:
            return await catcher.open()
        except ListenError as failure:
            port = failure.endpoint.port if failure.endpoint is not None else None
            taken = [name for name, where in wanted.items() if asked[name] is None and port and where.port == port]
            if failure.errno != EADDRINUSE or not taken:
                raise
            wanted[taken[0]] = wanted[taken[0]].replace(port=0)
    raise AssertionError("every port that was taken has been replaced")


class _Screen:
    """What is printed: mails on stdout as they come, all else on stderr."""

    def __init__(self, store: Store, *, as_json: bool) -> None:
        self._store = store
        self._as_json = as_json
        self._caught = 0

    def begin(self, catcher: Catcher, link: Link | None, failures: Failures | None, certificate: str | None) -> None:
        for name, where in catcher.addresses.items():
            click.echo(f"{name}: listening on {where}", err=True)
        if link is not None:
            click.echo(f"inbox: listening on {link.url}", err=True)
        for line in settings(catcher.addresses, certificate):
            click.echo(f"  {line}", err=True)
        if failures is not None:
            click.echo(f"fails as asked for, with --seed {failures.seed}", err=True)

    async def follow(self) -> None:
        """Prints each mail, until cancelled."""
        async for change in self._store.changes():
            if change.kind == "added":
                self._caught += len(change.mails)
                for mail in change.mails:
                    click.echo(json.dumps(caught_as_json(mail)) if self._as_json else caught_line(mail))
            elif change.kind == "lost":
                click.echo("more mails came than could be shown; they are kept", err=True)

    def tell_client(self, client: Client) -> None:
        findings = client.findings()
        if self._as_json:
            faults = [finding.as_json() for finding in findings]
            click.echo(json.dumps({"client": client.as_json(), "mails": client.mails, "findings": faults}))
            return
        for finding in findings:
            if finding.severity != "low":  # that mail came in plain text stands in its line
                click.echo(finding_line(finding), err=True)

    def end(self, catcher: Catcher) -> None:
        limited = ", ".join(filter(None, (acts(stats) for stats in catcher.stats.values())))
        click.echo(f"caught {plural(self._caught, 'mail')}" + (f"\nlimits: {limited}" if limited else ""), err=True)


USUAL = {
    "smtp": "tcp://localhost:1025",
    "smtps": "tls://localhost:1465",
    "imap": "tcp://localhost:1143",
    "pop3": "tcp://localhost:1110",
}
