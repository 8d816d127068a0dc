"""The service as programs open it, asked over sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from socketkit import connect
from socketkit.hosting import Hosted, Wanted, host, place
from socketkit.uses.web import Manner, serve
from socketkit.uses.web.service import Site


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("hello")
    return tmp_path


async def get(hosted: Hosted, path: str, *fields: str, host: str = "localhost") -> str:
    """The answer to one request, as it comes."""
    async with connect(str(hosted.local)) as stream:
        lines = [f"GET {path} HTTP/1.1", f"host: {host}", "connection: close", *fields]
        await stream.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        return b"".join([chunk async for chunk in stream]).decode()


def within(root: Path, ask: Callable[[Hosted], Awaitable[None]], manner: Manner, wanted: Wanted | None = None) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), serve(root, wanted, manner) as hosted:
            await ask(hosted)

    asyncio.run(main())


def test_a_folder_behind_its_link(root: Path) -> None:
    async def ask(hosted: Hosted) -> None:
        assert hosted.link.url.startswith("http://localhost:")
        assert (await get(hosted, f"{hosted.link.prefix}/a.txt")).endswith("\r\n\r\nhello")
        assert " 403 " in await get(hosted, "/a.txt")

    within(root, ask, Manner())


def test_a_public_folder_is_answered_alike_by_the_engine(root: Path) -> None:
    (root / "empty").write_text("")
    (root / "page").mkdir()
    (root / "page" / "index.html").write_text("<h1>here</h1>")

    async def main() -> None:
        site = Site(root)
        where = place(Wanted(public=True))
        try:
            async with asyncio.timeout(20), host(site.opened(where), where) as hosted:
                assert site._files is not None
                prepared = site._files._prepared
                assert prepared is not None
                for count, path in enumerate(["/a.txt", "/empty", "/page/", "/%61.txt"], 1):
                    first, again = await get(hosted, path), await get(hosted, path)
                    assert said(first) == said(again)
                    assert (len(prepared), prepared.answered) == (count, count)
                assert " 403 " in await get(hosted, "/a.txt", host="somebody.example")
                # Whatever is written is there for the next who asks.
                (root / "a.txt").write_text("other")
                assert (await get(hosted, "/a.txt")).endswith("\r\n\r\nother")
                (root / "a.txt").unlink()
                (root / "a.txt").symlink_to("/etc/passwd")
                assert " 404 " in await get(hosted, "/a.txt")
                # Who asks for a part, or with words of his own behind the name, is no reason to keep anything.
                kept = len(prepared)
                for path, *fields in (["/empty?1"], ["/empty?2"], ["/page"], ["/none"], ["/"]):
                    await get(hosted, path, *fields)
                assert len(prepared) == kept
        finally:
            site.close()

    asyncio.run(main())


def said(answer: str) -> tuple[str, list[str], str]:
    """Status, fields in some order without the time, and body."""
    head, _, body = answer.partition("\r\n\r\n")
    status, *fields = head.split("\r\n")
    return status, sorted(field for field in fields if not field.startswith("date:")), body


@pytest.mark.parametrize(
    ("wanted", "manner"),
    [
        (Wanted(), Manner()),
        (Wanted(public=True), Manner(password="open")),
        (Wanted(public=True), Manner(upload=True)),
    ],
)
def test_where_somebody_is_asked_the_engine_answers_nothing(root: Path, wanted: Wanted, manner: Manner) -> None:
    site = Site(root, manner)
    try:
        site.opened(place(wanted))
        assert site._files is not None
        assert site._files._prepared is None
    finally:
        site.close()


def test_a_link_to_one_file_needs_no_token(root: Path) -> None:
    async def main() -> None:
        site = Site(root)
        where = place(Wanted())
        try:
            async with asyncio.timeout(20), host(site.opened(where), where) as hosted:
                assert site.links is not None
                link = site.links.make("/a.txt")
                assert (await get(hosted, link)).endswith("\r\n\r\nhello")
                assert " 404 " in await get(hosted, link)
        finally:
            site.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("target", "manner"),
    [
        ("a.txt", Manner(upload=True)),
        ("", Manner(overwrite=True)),
        ("", Manner(quota_bytes=5)),
        ("json:loads", Manner(upload=True)),
    ],
)
def test_what_uploads_cannot_be(root: Path, target: str, manner: Manner) -> None:
    with pytest.raises(ValueError, match="upload"):
        Site(target if ":" in target else root / target, manner)


def test_peers_are_listed_with_what_they_do(root: Path) -> None:
    (root / "large").write_bytes(bytes(20 << 20))  # more than the buffers on the way: it is being sent until it is read

    async def ask(hosted: Hosted) -> None:
        async with connect(str(hosted.local)) as stream:
            await stream.send(f"GET {hosted.link.prefix}/large HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            await stream.receive_until(b"\r\n\r\n", max_bytes=4_096)
            (row,) = hosted.peers.rows()
            assert row.doing == "GET /large"
            assert hosted.peers.kick(row.number)

    within(root, ask, Manner())


def test_a_password_in_place_of_the_token(root: Path) -> None:
    async def ask(hosted: Hosted) -> None:
        assert "~" not in hosted.link.url
        assert " 401 " in await get(hosted, "/a.txt")
        assert (await get(hosted, "/a.txt", "authorization: Basic eDpzZXNhbWU=")).endswith("hello")

    within(root, ask, Manner(password="sesame"))


def test_no_password_in_plain_text_over_a_network(root: Path) -> None:
    async def ask(hosted: Hosted) -> None:
        raise AssertionError("it is open")

    with pytest.raises(ValueError, match="plain text"):
        within(root, ask, Manner(password="x"), Wanted(on="*", plaintext=True))


def test_one_file_given_away_once(root: Path) -> None:
    async def ask(hosted: Hosted) -> None:
        first = await get(hosted, f"{hosted.link.prefix}/")
        assert f"location: {hosted.link.prefix}/a.txt" in first
        assert (await get(hosted, f"{hosted.link.prefix}/a.txt")).endswith("hello")
        assert await hosted.wait() == "the file was given away"

    within(root / "a.txt", ask, Manner(once=True))


def test_what_is_contradictory(root: Path) -> None:
    with pytest.raises(ValueError, match="only one file"):
        Site(root, Manner(once=True))
    with pytest.raises(ValueError, match="an application"):
        Site("json:dumps", Manner(once=True))
    (root / ".hidden").touch()
    with pytest.raises(FileNotFoundError, match="--hidden"):
        Site(root / ".hidden")
    with pytest.raises(FileNotFoundError):
        Site(root / "nothing")
    Site(root / ".hidden", Manner(hidden=True)).close()
