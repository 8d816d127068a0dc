"""The catcher of mail with programs that we did not write: swaks, msmtp, curl, s-nail, mutt."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from socketkit.uses.mail import Catcher, Caught, Failures, Incoming, Store
from tests.conftest import Run
from tests.uses.mail.boxes import SECOND, whole

Find = Callable[[str], str]

pytestmark = pytest.mark.slow

TEXT = "Subject: hello\r\nFrom: ann@example.org\r\n\r\n.text\r\n..text\r\n"


class Box:
    """A catcher, and the programs that talk with it."""

    def __init__(self, store: Store, catcher: Catcher, folder: Path) -> None:
        self.store = store
        self.catcher = catcher
        self.folder = folder
        self.certificate = folder / "certificate.pem"
        self.certificate.write_text(catcher.identity.certificate)

    def port(self, name: str) -> int:
        port = self.catcher.addresses[name].port
        assert port is not None
        return port

    async def run(self, *words: str, data: str = "", status: int = 0) -> str:
        home = {"HOME": str(self.folder), "MAILRC": "/dev/null", "LC_ALL": "C.UTF-8"}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *words, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT, env={**os.environ, **home}
        )
        try:
            out, _ = await process.communicate(data.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        said = out.decode("utf-8", "replace")
        assert process.returncode == status, said
        return said

    async def only(self) -> tuple[Caught, bytes]:
        (mail,) = await self.store.newest()
        return mail, await self.store.raw(mail.id) or b""


@asynccontextmanager
async def box(folder: Path, *rules: str) -> AsyncIterator[Box]:
    async with Store() as store, Catcher(store, failures=Failures(rules, 1)) as catcher:
        yield Box(store, catcher, folder)


async def filled(there: Box) -> None:
    for raw in (whole(), SECOND):
        await there.store.add(Incoming(time.time(), "ann@example.org", ("bob@example.org",), raw, {}))


# --- sending


@pytest.mark.parametrize(
    ("way", "encrypted"), [([], False), (["-tls"], True), (["-a", "LOGIN"], False), (["-tls", "-a", "PLAIN"], True)]
)
def test_swaks(run: Run, program: Find, tmp_path: Path, way: list[str], encrypted: bool) -> None:
    async def main() -> None:
        async with box(tmp_path) as there:
            words = ["--server", f"localhost:{there.port('smtp')}", "-f", "ann@example.org"]
            words += ["-t", "bob@example.org,eve@x.org"]
            login = ["-au", "ann", "-ap", "secret"] if "-a" in way else []
            await there.run(program("swaks"), *words, *way, *login)
            mail, _ = await there.only()
            assert mail.recipients == ("bob@example.org", "eve@x.org")
            assert mail.client["password_in_clear"] is (bool(login) and not encrypted)
            assert (mail.client["tls"] is not None) is encrypted

    run(main())


def test_swaks_pipelined(run: Run, program: Find, tmp_path: Path) -> None:
    async def main() -> None:
        async with box(tmp_path) as there:
            words = ["--server", f"localhost:{there.port('smtp')}", "-f", "ann@example.org", "-t", "bob@example.org"]
            await there.run(program("swaks"), *words, "--pipeline")
            assert (await there.only())[0].sender == "ann@example.org"

    run(main())


def test_swaks_is_told_of_failures(run: Run, program: Find, tmp_path: Path) -> None:
    async def main() -> None:
        async with box(tmp_path, "rcpt=550 no such mailbox") as there:
            words = ["--server", f"localhost:{there.port('smtp')}", "-f", "ann@example.org", "-t", "bob@example.org"]
            said = await there.run(program("swaks"), *words, status=24)
            assert "550 no such mailbox" in said

    run(main())


@pytest.mark.parametrize("starttls", [True, False])
def test_msmtp(run: Run, program: Find, tmp_path: Path, starttls: bool) -> None:
    async def main() -> None:
        async with box(tmp_path) as there:
            where = there.port("smtp" if starttls else "smtps")
            words = ["--host=localhost", f"--port={where}", "--tls=on", f"--tls-starttls={'on' if starttls else 'off'}"]
            words += [f"--tls-trust-file={there.certificate}", "--from=ann@example.org", "--auth=off"]
            await there.run(program("msmtp"), *words, "bob@example.org", data=TEXT.replace("\r\n", "\n"))
            mail, raw = await there.only()
            assert mail.client["tls"] == "TLSv1.3"
            assert raw.endswith(b"\r\n\r\n.text\r\n..text\r\n")

    run(main())


@pytest.mark.parametrize("way", ["smtp", "smtps"])
def test_curl_sends(run: Run, program: Find, tmp_path: Path, way: str) -> None:
    async def main() -> None:
        async with box(tmp_path) as there:
            text = tmp_path / "text"
            text.write_bytes(TEXT.encode())
            words = ["-sS", "--ssl-reqd", "--cacert", str(there.certificate), "-T", str(text), "-u", "ann:secret"]
            words += ["--mail-from", "ann@example.org", "--mail-rcpt", "bob@example.org"]
            await there.run(program("curl"), *words, f"{way}://localhost:{there.port(way)}")
            mail, raw = await there.only()
            assert raw == TEXT.encode()
            assert (mail.client["user"], mail.client["password_in_clear"]) == ("ann", False)

    run(main())


def test_s_nail(run: Run, program: Find, tmp_path: Path) -> None:
    async def main() -> None:
        async with box(tmp_path) as there:
            words = ["-:/", "-S", f"mta=smtp://localhost:{there.port('smtp')}", "-S", "smtp-config=-all,ehlo"]
            words += [
                "-S",
                "smtp-auth=none",
                "-S",
                "DEAD=/dev/null",
                "-S",
                "v15-compat",
                "-r",
                "ann@example.org",
                "-s",
                "Grüße",
                "-a",
                str(there.certificate),
            ]
            await there.run(program("s-nail"), *words, "bob@example.org", data="text\n")
            mail, _ = await there.only()
            assert mail.summary.subject == "Grüße"
            parsed = await there.store.parsed(mail.id)
            assert parsed is not None
            assert [part.name for part in parsed.attachments] == ["certificate.pem"]

    run(main())


# --- reading


@pytest.mark.parametrize("encrypted", [False, True])
def test_curl_reads(run: Run, program: Find, tmp_path: Path, encrypted: bool) -> None:
    async def main() -> None:
        async with box(tmp_path) as there:
            await filled(there)
            words = ["-sS", "-u", "ann:secret"]
            words += ["--ssl-reqd", "--cacert", str(there.certificate)] if encrypted else []
            imap = f"imap://localhost:{there.port('imap')}"
            pop3 = f"pop3://localhost:{there.port('pop3')}"
            curl = program("curl")
            assert await there.run(curl, *words, f"{imap}/INBOX;UID=2") == SECOND.decode()
            assert "Subject: two" in await there.run(curl, *words, f"{imap}/INBOX;UID=2;SECTION=HEADER")
            assert "INBOX" in await there.run(curl, *words, imap)
            assert (await there.run(curl, *words, f"{imap}/INBOX?SUBJECT%20two")).strip() == "* SEARCH 2"
            assert await there.run(curl, *words, f"{pop3}/2") == SECOND.decode()
            assert await there.run(curl, *words, pop3) == f"1 {len(whole())}\r\n2 {len(SECOND)}\r\n"
            await there.run(curl, *words, "-I", "-X", "DELE 1", f"{pop3}/")
            assert [mail.id for mail in await there.store.newest()] == [2]

    run(main())


def test_mutt_reads_by_imap(run: Run, program: Find, tmp_path: Path) -> None:
    async def main() -> None:
        async with box(tmp_path) as there:
            await filled(there)
            rules = tmp_path / "muttrc"
            # Every line is a setting: mutt opens the folder, prints the mails that it lists to a file, and ends.
            rules.write_text(
                f"set imap_user=ann imap_pass=secret ssl_starttls=yes ssl_force_tls=yes\n"
                f"set certificate_file={there.certificate} ssl_verify_host=yes ssl_verify_dates=yes\n"
                f"set folder=imap://localhost:{there.port('imap')}/ spoolfile=imap://localhost:{there.port('imap')}/INBOX\n"
                'set print_command="cat >> printed" print=yes print_split=yes wait_key=no sleep_time=0\n'
                "unset mark_old confirmappend\nset delete=yes quit=yes\n"
                "push '<tag-pattern>~A<enter><tag-prefix><print-message><delete-pattern>~s two<enter><quit>'\n"
            )
            words = ["-F", str(rules)]
            # In the foreground, whichever shell runs it: a program behind it is stopped when it asks for the terminal.
            script = f"cd {tmp_path} && TERM=vt100 timeout --foreground 15 {program('mutt')} {' '.join(words)}"
            await there.run(program("script"), "-qec", script, "/dev/null")
            printed = (tmp_path / "printed").read_text(errors="replace")
            assert "hello world" in printed
            assert "text two" in printed
            assert [mail.id for mail in await there.store.newest()] == [1]
            assert there.catcher.clients[-1].tls == "TLSv1.3"

    run(main(), 40)
