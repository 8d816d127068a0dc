"""A hosted web service with curl, httpx and Chromium."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from socketkit import Endpoint, connect
from socketkit.hosting import Happening, Wanted, at, authority, host, place
from socketkit.hosting.web import AUTHORITY_PATH, web
from socketkit.http import Access, Prepared, httpx_transport
from tests.browser import opened, trust
from tests.conftest import Run

PAGE = b"<!doctype html><title>hello</title><p id=path>"


class Application:
    """Says which path it was asked for; holds back its answer to /slow."""

    def __init__(self) -> None:
        self.slow = asyncio.Event()
        self.events: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            self.events.append((await receive())["type"])
            await send({"type": "lifespan.startup.complete"})
            self.events.append((await receive())["type"])
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"] == "/slow":
            await self.slow.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": PAGE + scope["path"].encode()})


def test_link_peers_and_access(run: Run, home: Path) -> None:
    told: list[Happening] = []
    seen: list[Access] = []

    async def main() -> None:
        application = Application()
        made = place(Wanted())
        async with host(web(application, access=seen.append), made, tell=told.append) as hosted:
            async with httpx.AsyncClient(transport=httpx_transport(), base_url=hosted.link.base) as client:
                assert (await client.get("/")).status_code == 403
                link = f"{hosted.link.prefix}/a"
                assert (await client.get(link)).content == PAGE + b"/a"
                sent_on = await client.get(link, headers={"accept": "text/html"})
                assert (sent_on.status_code, sent_on.headers["location"]) == (303, "/a")
                assert (await client.get("/b")).content == PAGE + b"/b"  # by its cookie
                slow = asyncio.create_task(client.get("/slow"))
                while not (rows := hosted.peers.rows()) or rows[0].doing != "GET /slow":
                    await asyncio.sleep(0)
                application.slow.set()
                assert (await slow).status_code == 200
            assert application.events == ["lifespan.startup"]
        assert application.events[-1] == "lifespan.shutdown"
        assert hosted.peers.received_bytes > 100 and hosted.peers.sent_bytes > 100

    run(main())
    assert {happening.what for happening in told} == {"joined", "left"}
    assert [access.target for access in seen] == ["/", "/~.../a", "/~.../a", "/b", "/slow"]


def test_nothing_is_prepared_behind_a_token(run: Run, home: Path) -> None:
    async def main() -> None:
        prepared = Prepared()
        prepared.put("/p", b"for everybody", valid_seconds=60)
        with pytest.raises(ValueError, match="before the link's token is asked for"):
            async with host(web(Application(), prepared=prepared), place(Wanted())):
                pass
        async with host(web(Application(), prepared=prepared), place(Wanted(public=True))) as hosted:
            async with httpx.AsyncClient(transport=httpx_transport()) as client:
                assert (await client.get(f"{hosted.link.base}/p")).content == b"for everybody"

    run(main())


@pytest.mark.parametrize("encrypted", [False, True])
def test_the_token_is_in_no_log(run: Run, home: Path, caplog: pytest.LogCaptureFixture, encrypted: bool) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            raise ValueError("a bug")

    async def main() -> None:
        async with host(web(failing), place(Wanted(tls=encrypted))) as hosted:
            url = hosted.link.url
            async with httpx.AsyncClient(transport=httpx_transport(http2=True), base_url=hosted.link.base) as client:
                for prefix in (hosted.link.prefix, hosted.link.prefix.replace("~", "%7E")):
                    assert (await client.get(f"{prefix}/a")).status_code == 500
        assert hosted.link.prefix not in caplog.text and url not in caplog.text
        assert hosted.link.prefix[2:] not in caplog.text

    run(main())
    assert caplog.text.count(".../a of ") == 2


def test_kick(run: Run, home: Path) -> None:
    async def main() -> None:
        async with host(web(Application()), place(Wanted(public=True))) as hosted:
            async with httpx.AsyncClient(transport=httpx_transport(), base_url=hosted.link.base) as client:
                asking = asyncio.create_task(client.get("/slow"))
                while not len(hosted.peers):
                    await asyncio.sleep(0)
                assert hosted.peers.kick(1)
                with pytest.raises(httpx.TransportError):
                    await asking

    run(main())


def test_without_a_place_of_its_own(run: Run) -> None:
    async def main() -> None:
        async with host(web(Application()), at(Endpoint.parse("tcp4://localhost:0"))) as hosted:
            async with httpx.AsyncClient(transport=httpx_transport()) as client:
                assert (await client.get(f"http://127.0.0.1:{hosted.local.port}/x")).content == PAGE + b"/x"

    run(main())


@pytest.mark.slow
def test_curl_by_authority_and_by_pin(run: Run, home: Path, program: Callable[[str], str], tmp_path: Path) -> None:
    made = authority.make()
    (tmp_path / "ca").write_text(made.certificate)

    async def curl(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            program("curl"), "-sS", "--max-time", "20", *words,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        return (await process.communicate())[0].decode()

    async def main() -> None:
        async with host(web(Application()), place(Wanted(tls=True))) as hosted:
            url = hosted.link.url
            assert await curl("--cacert", str(tmp_path / "ca"), url) == (PAGE + b"/").decode()
            assert await curl("--http1.1", "--cacert", str(tmp_path / "ca"), url + "x") == (PAGE + b"/x").decode()
            got = await curl("--cacert", str(tmp_path / "ca"), hosted.link.base + AUTHORITY_PATH)
            assert got == made.certificate
            assert "certificate" in await curl(url)  # without it: refused
            from socketkit.fingerprint import public_key_pin

            assert hosted.place.identity is not None
            pin = public_key_pin(hosted.place.identity.fingerprint)
            assert await curl("--insecure", "--pinnedpubkey", pin, url) == (PAGE + b"/").decode()
            stream = await connect(hosted.local)
            await stream.aclose()

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("trusted", [False, True])
def test_chromium(trusted: bool, home: Path, program: Callable[[str], str], tmp_path: Path) -> None:
    """A browser shakes hands with it; it warns without an authority, and does not with one that it was told of."""
    chromium, certutil = program("chromium"), program("certutil")
    if trusted:
        made = authority.make()
        trust(certutil, tmp_path, made.name, made.certificate)

    async def main() -> None:
        async with host(web(Application()), place(Wanted(on="127.0.0.1", tls=True))) as hosted:
            async with opened(chromium, tmp_path, page_errors=False) as page:
                if not trusted:
                    from playwright.async_api import Error

                    with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
                        await page.goto(hosted.link.url)
                    return
                await page.goto(hosted.link.url + "a%20b?x=1")
                assert page.url == f"{hosted.link.base}/a%20b?x=1"
                assert await page.text_content("#path") == "/a b"
                await page.goto(hosted.link.base + "/c")  # by its cookie
                assert await page.text_content("#path") == "/c"
                assert await page.evaluate("isSecureContext && document.cookie") == ""  # pages cannot read it

    asyncio.run(main())


@pytest.mark.slow
def test_a_link_that_is_followed(home: Path, program: Callable[[str], str], tmp_path: Path) -> None:
    """In a page of another site, to a service whose cookie is strict; what such a page asks for itself is refused."""
    aims: list[str] = []
    reached: list[str] = []

    async def linking(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            body = f"<!doctype html><a href='{aims[0]}'>there</a>".encode()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
            await send({"type": "http.response.body", "body": body})

    async def application(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope.get("path", ""))
        await Application()(scope, receive, send)

    async def main() -> None:
        async with (
            host(web(application, relative=True), place(Wanted())) as hosted,
            host(web(linking), place(Wanted(public=True))) as other,
            opened(program("chromium"), tmp_path, page_errors=False) as page,
        ):
            here = f"http://127.0.0.1:{hosted.local.port}"  # to `localhost` it is another site
            aims.append(f"{here}{hosted.link.prefix}/a?x=1")
            await page.goto(other.link.url)
            await page.click("a")
            await page.wait_for_selector("#path")
            assert (await page.text_content("#path"), page.url.endswith("/a?x=1")) == ("/a", True)
            assert hosted.link.prefix not in page.url
            folder = page.url.removesuffix("a?x=1")
            for origin in (other.link.base, f"http://127.0.0.1:{other.local.port}"):  # the second one is the same site
                await page.goto(origin)
                asked = f"fetch({folder + 'secret'!r}, {{mode: 'no-cors', credentials: 'include'}})"
                assert await page.evaluate(f"{asked}.then(() => 'answered', () => 'blocked')") in (
                    "answered",
                    "blocked",
                )

    asyncio.run(main())
    assert "/a" in reached and "/secret" not in reached
