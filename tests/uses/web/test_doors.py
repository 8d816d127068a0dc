"""Ways into a folder that is served, and out of it, in the very bytes of a request."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from socketkit import connect
from socketkit.hosting import Wanted
from socketkit.uses.web import serve

SECRET = b"secret of the house"
OUT = (
    "/../secret", "/sub/../../secret", "/%2e%2e/secret", "/%2e%2e%2fsecret", "/..%2fsecret", "/.%2e/secret",
    "/%252e%252e/secret", "/..\\secret", "/..%5csecret", "/sub/..;/../secret", "//../secret", "/./../secret",
    "/%c0%ae%c0%ae/secret", "/%c0%ae%c0%ae%c0%afsecret", "/%e0%80%ae%e0%80%ae/secret", "/%uff0e%uff0e/secret",
    "/secret%00.txt", "/sub%00/../../secret", "/..%00/secret", "/out", "/out/", "/up/secret", "/up/", "/up%2fsecret",
    "/.hidden", "/%2ehidden", "/sub/.hidden", "/absolute", "//etc/passwd", "/%2fetc%2fpasswd", "/\\etc\\passwd",
    "/~nobody/secret", "/sub/%2e%2e/%2e%2e/secret", "/\xc3\xbc/../../secret",
    "/" + "../" * 40 + "etc/passwd",
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(SECRET)
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("open")
    (root / ".hidden").write_bytes(SECRET)
    (root / "sub" / ".hidden").write_bytes(SECRET)
    (root / "out").symlink_to("../secret")
    (root / "up").symlink_to("..")
    (root / "absolute").symlink_to(tmp_path / "secret")
    return root


def answers(root: Path, targets: tuple[str, ...], wanted: Wanted) -> list[bytes]:
    async def one(where: str, target: str) -> bytes:
        async with connect(where) as stream:
            await stream.send(
                b"GET %s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n" % target.encode("latin-1")
            )
            return b"".join([chunk async for chunk in stream])

    async def main() -> list[bytes]:
        async with asyncio.timeout(40), serve(root, wanted) as hosted:
            return [await one(str(hosted.local), target) for target in targets]

    return asyncio.run(main())


def test_nothing_leads_out(root: Path) -> None:
    for target, answer in zip(OUT, answers(root, OUT, Wanted(public=True)), strict=True):
        assert answer.split()[1] in (b"400", b"404"), (target, answer)
        assert SECRET not in answer
        assert b"root:" not in answer


def test_without_the_link_nothing_is_told(root: Path) -> None:
    targets = ("/", "/a.txt", "/~", "/~/a.txt", "/~x/a.txt", "/.socketkit/listing.js", "/?json", "/?zip", *OUT)
    for target, answer in zip(targets, answers(root, targets, Wanted()), strict=True):
        assert answer.split()[1] in (b"400", b"403"), (target, answer)


def test_no_answer_sends_to_another_site(root: Path) -> None:
    targets = (
        "//evil.example",
        "//evil.example/..",
        "/\\evil.example/",
        "//sub",
        "///sub",
        "/%2f%2fsub",
        "/sub?//evil",
    )
    for target, answer in zip(targets, answers(root, targets, Wanted(public=True)), strict=True):
        location = answer.partition(b"\r\n\r\n")[0].lower().partition(b"\nlocation: ")[2].partition(b"\r")[0]
        assert location in (b"", b"/sub/", b"/sub/?//evil"), (target, answer)
