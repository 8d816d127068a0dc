"""`socketkit serve mail`: catches every mail that programs under test send, and shows what was seen of them."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..endpoint import Endpoint
from ..hosting import at, place
from ..hosting.authority import local_names, shown_for
from ..uses.mail.database import KEEP
from ..uses.mail.failures import Failures
from ..uses.mail.inbox import Inbox
from ..uses.mail.service import opened
from ..uses.mail.smtp_events import BOUNDS
from ..uses.mail.store import Store
from ..uses.mail.told import caught_as_json
from .arguments import address_option
from .hosting import Manner, ending_options, place_options_with_token, run_hosted, summary, wanted_of
from .mail_lines import caught_line, finding_line, settings
from .mail_release import outlet_of, release_options
from .units import plural

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from typing import Any

    from ..hosting import Hosted
    from ..uses.mail.seen import Client
    from ..uses.mail.serving import Catcher

EPILOG = """\b
Examples:
  socketkit serve mail
  socketkit serve mail --for 10m --json > caught.jsonl
  socketkit serve mail --keep mail.db
  socketkit serve mail --fail 'rcpt=451@10%' --fail 'data=552@3x' --seed 7
  socketkit serve mail --fail 'rcpt:*@gone.example=550' --fail mail=delay:2s --fail connect=drop@5%
  socketkit serve mail --lan
  socketkit serve mail --release tls://smtp.example.org:465 --release-to '*@example.org' --release-user ann
  socketkit serve mail --smtp 'tls://*:2525?public=yes' --no-inbox

\b
Without addresses it takes the usual ports of such catchers on loopback (SMTP 1025, SMTP under TLS
1465, IMAP 1143, POP3 1110, the inbox 8025), or free ones where they are taken, and prints settings
to paste. STARTTLS is offered on the plain ports, and any password is taken. No mail leaves this
machine, unless --release and --release-to let the inbox send one on when its button is pressed.

\b
The inbox is a page for browsers, and a JSON API under the same link, whose token is the key wherever
it is. --lan, --on, --port, --tls and --plaintext say where the inbox is; where mail is taken is said
by the addresses of --smtp and its like.

\b
A failure is STAGE[:ADDRESS]=WHAT[@WHEN]. Stages: connect, helo, auth, mail, rcpt, data. What: a
reply (451, '550 My words'), drop, or delay:2s. When: @10% of the times, or @3x, the first three.
"""


@click.command("serve mail", epilog=EPILOG)
@address_option("--smtp", "Where to listen for SMTP in plain text, with STARTTLS.")
@address_option("--smtps", "Where to listen for SMTP under TLS.")
@address_option("--imap", "Where to listen for IMAP: STARTTLS on tcp://, or tls://.")
@address_option("--pop3", "Where to listen for POP3: STLS on tcp://, or tls://.")
@click.option("--no-inbox", is_flag=True, help="Serve no inbox.")
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
@release_options
@place_options_with_token
@ending_options
def command(
    smtp: Endpoint | None,
    smtps: Endpoint | None,
    imap: Endpoint | None,
    pop3: Endpoint | None,
    no_inbox: bool,
    rules: tuple[str, ...],
    seed: int | None,
    path: str | None,
    most_mails: int,
    most_bytes: int,
    certificate: str | None,
    seconds: float | None,
    once: bool,
    as_json: bool,
    qr: bool | None,
    **options: Any,
) -> None:
    """Catch every mail that programs send, and show what was seen of them.

    Prints the link of an inbox to look at them; a line for each mail, with whether it came encrypted; and for each
    program that sent a password in plain text, or broke a rule that matters, what is wrong and what helps. With --once
    it ends when the first program that sent a mail has gone.
    """
    outlet = outlet_of(options)
    said_of_inbox = (outlet, qr, *options.values())
    wanted = wanted_of(options, USUAL_PORT)
    if no_inbox and any(value is not None and value is not False and value != () for value in said_of_inbox):
        raise click.UsageError("--no-inbox contradicts what is said of the inbox: where it is, and what it may do")
    failures = Failures(rules, seed)
    shown = shown_for(local_names(["localhost"]))
    if certificate is not None:
        Path(certificate).write_text(shown.trusted)
    asked = {"smtp": smtp, "smtps": smtps, "imap": imap, "pop3": pop3}
    addresses = {name: given or Endpoint.parse(USUAL[name]) for name, given in asked.items()}
    where = at(addresses["smtp"]) if no_inbox else place(wanted)
    store = Store(path, keep=KEEP._replace(most_mails=most_mails))
    screen = _Screen(as_json=as_json, once=once)
    inbox = None if no_inbox else Inbox(store, outlet=outlet)
    open_all = opened(
        store,
        where,
        inbox,
        **addresses,
        usual_port=USUAL_PORT,
        usual=[name for name, given in asked.items() if given is None],
        failures=failures,
        bounds=BOUNDS._replace(message_bytes=most_bytes),
        identity=shown.identity,
        told=screen.tell_client,
    )
    run_hosted(
        _shown(screen, store, open_all),
        where,
        Manner(seconds, False, as_json, qr),
        facts=lambda: {"mails": screen.caught},
        words=lambda hosted: f"caught {plural(screen.caught, 'mail')}\n{summary(hosted)}",
        hint=lambda hosted: screen.hint(certificate, failures if rules else None),
    )


def _shown(
    screen: _Screen, store: Store, open_all: Callable[[Hosted], AbstractAsyncContextManager[Catcher]]
) -> Callable[[Hosted], AbstractAsyncContextManager[Catcher]]:
    """The catcher with its store, and what is said of each mail."""

    @asynccontextmanager
    async def opening(hosted: Hosted) -> AsyncIterator[Catcher]:
        screen.hosted = hosted
        async with store:
            following = asyncio.create_task(screen.follow(store))
            following.add_done_callback(lambda _: hosted.stop("its lines cannot be written"))
            try:
                async with open_all(hosted) as catcher:
                    screen.addresses = {name: at for name, at in catcher.addresses.items() if name != "inbox"}
                    yield catcher
                await asyncio.sleep(0)  # the mails of those who could finish are said, too
            finally:
                following.cancel()
                await asyncio.wait([following])
            if not following.cancelled():
                following.result()

    return opening


class _Screen:
    """What is printed of mails and of who sent them; who comes and goes is the base's to say."""

    def __init__(self, *, as_json: bool, once: bool) -> None:
        self.caught = 0
        self.hosted: Hosted
        self.addresses: dict[str, Endpoint] = {}
        self._as_json = as_json
        self._once = once

    def hint(self, certificate: str | None, failures: Failures | None) -> str:
        lines = [f"  {line}" for line in settings(self.addresses, certificate)]
        if failures is not None:
            lines.append(f"fails as asked for, with --seed {failures.seed}")
        return "\n".join(lines)

    async def follow(self, store: Store) -> None:
        """Prints each mail, until cancelled."""
        async for change in store.changes():
            if change.kind == "added":
                self.caught += len(change.mails)
                for mail in change.mails:
                    event = {"event": "caught", **caught_as_json(mail)}
                    click.echo(json.dumps(event) if self._as_json else caught_line(mail))
            elif change.kind == "lost":
                click.echo("more mails came than could be shown; they are kept", err=True)

    def tell_client(self, client: Client) -> None:
        if not self._as_json:  # there its findings stand in the event of its leaving
            for finding in client.findings():
                if finding.severity != "low":  # that mail came in plain text stands in its line
                    click.echo(finding_line(finding), err=True)
        if self._once and client.protocol == "smtp" and client.mails:
            self.hosted.stop("the first program that sent a mail has gone")


USUAL = {
    "smtp": "tcp://localhost:1025",
    "smtps": "tls://localhost:1465",
    "imap": "tcp://localhost:1143",
    "pop3": "tcp://localhost:1110",
}
USUAL_PORT = 8025
