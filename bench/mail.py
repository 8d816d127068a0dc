"""Mails per second: mail after mail on kept connections, and a connection for each mail.

The rows `socketkit` store every mail in SQLite before it is acknowledged: in a file, or `-memory`. aiosmtpd's first row
keeps nothing (its own speed), its `-mailbox` writes a Maildir. Mailpit, where it is installed, stores in its SQLite.
"""

from __future__ import annotations

import shutil
from functools import partial

from harness import (
    Peer,
    Samples,
    bench,
    build,
    choose_peers,
    free_port,
    load_command,
    print_rates,
    python_peer,
    rounds,
    run_command,
    start_all,
)
from options import Options

FLOORS = {"aiosmtpd": 3.0}


def peers() -> list[Peer]:
    found = [
        python_peer("socketkit", "mail_socketkit", load="load_mail"),
        python_peer("socketkit-uvloop", "mail_socketkit", "--uvloop", load="load_mail"),
        python_peer("socketkit-memory", "mail_socketkit", "--memory", load="load_mail"),
        python_peer("aiosmtpd", "mail_aiosmtpd", load="load_mail"),
        python_peer("aiosmtpd-uvloop", "mail_aiosmtpd", "--uvloop", load="load_mail"),
        python_peer("aiosmtpd-mailbox", "mail_aiosmtpd", "--mailbox", load="load_mail"),
    ]
    mailpit = shutil.which("mailpit")
    if mailpit is not None:
        port = free_port()
        words = ("--smtp", f"127.0.0.1:{port}", "--listen", f"127.0.0.1:{free_port()}", "--max", "0", "--quiet")
        found.append(Peer("mailpit", (mailpit, *words), port=port, load="load_mail"))
    return found


def main() -> None:
    parser = Options(__doc__, quick={"rounds": 1, "seconds": 0.3}, servers=True, rounds=3, seconds=1.0)
    parser.number("--connections", 16)
    parser.number("--size", 1024, unit="BYTES")
    options = parser.chosen()
    build("load_mail")
    with bench(options) as (stack, cores):
        servers = start_all(stack, choose_peers(peers(), options.peers), cores.server)
        for mode, words in (("kept", "kept connections"), ("fresh", "a connection for each")):
            samples = Samples()
            for order in rounds(servers, options.rounds):
                for server in order:
                    command = load_command(
                        mode,
                        load="load_mail",
                        port=server.port,
                        seconds=options.seconds,
                        connections=options.connections,
                        size=options.size,
                        cpu_of=server.process.pid,
                    )
                    measure = partial(run_command, server, cores.load, command, options.seconds)
                    samples.take(server.peer.name, measure)
            title = f"mails of {options.size:,} B, {words}, {options.connections} at once"
            print_rates(samples, title, "mails", "mail", FLOORS.get)


if __name__ == "__main__":
    main()
