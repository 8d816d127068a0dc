"""The door of a web service, called as a server calls it."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.hosting import Gate, Link

TOKEN = "k" * 26
BROWSER = {"accept": "text/html,*/*", "sec-fetch-mode": "navigate"}


class Seen:
    """An application that remembers what it is asked."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"in"})


def ask(
    gate: Gate,
    path: str,
    headers: dict[str, str] | None = None,
    *,
    kind: str = "http",
    method: str = "GET",
    query: str = "",
) -> tuple[int, dict[str, str], bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("the gate reads nothing")

    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
    }
    asyncio.run(gate(scope, receive, send))
    if kind == "websocket":
        return sent[0]["code"] if sent else 0, {}, b""
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, sent[1]["body"]


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def gate(seen: Seen) -> Gate:
    return Gate(
        seen, Link("https://a:8443", TOKEN), secure=True, port=8443, files={"/ca.crt": ("application/x", b"CA")}
    )


def test_nobody_comes_in_without_the_link(gate: Gate, seen: Seen) -> None:
    for path in ("/", "/a", "/~wrong/", f"/~{TOKEN[:-1]}/", f"/x/~{TOKEN}/", f"/~{TOKEN}x"):
        status, _, body = ask(gate, path)
        assert status == 403
        assert b"whole link" in body
    assert (gate.refused, seen.scopes) == (6, [])


def test_a_browser_gets_a_cookie_for_the_link(gate: Gate, seen: Seen) -> None:
    status, headers, _ = ask(gate, f"/~{TOKEN}/a b/c", BROWSER, query="x=1")
    assert (status, headers["location"], headers["referrer-policy"]) == (303, "/a%20b/c?x=1", "no-referrer")
    cookie, *attributes = headers["set-cookie"].split("; ")
    assert cookie.startswith("__Host-socketkit-8443=")
    assert attributes == ["Path=/", "HttpOnly", "SameSite=Lax", "Secure"]
    assert TOKEN not in headers["set-cookie"] + headers["location"]
    assert ask(gate, "/a b/c", {"cookie": f"other=1; {cookie}"})[0] == 200
    assert ask(gate, "/live", {"cookie": cookie}, kind="websocket")[0] == 0
    assert ask(gate, "/", {"cookie": cookie[:-1]})[0] == 403
    assert seen.scopes[0]["path"] == "/a b/c"


def test_the_link_sends_nobody_to_another_site(gate: Gate) -> None:
    for path in ("//evil.example", "/\\evil.example", "///x"):
        location = ask(gate, f"/~{TOKEN}{path}", BROWSER)[1]["location"]
        assert location[0] == "/" and location[1] not in "/\\"


def test_lines_are_not_split(gate: Gate) -> None:
    location = ask(gate, f"/~{TOKEN}/a\r\nset-cookie: x=1", BROWSER)[1]["location"]
    assert location == "/a%0D%0Aset-cookie:%20x=1"


def test_programs_are_served_under_the_link(gate: Gate, seen: Seen) -> None:
    assert ask(gate, f"/~{TOKEN}/file", {"accept": "*/*"})[0] == 200
    assert ask(gate, f"/~{TOKEN}", {})[0] == 200
    assert ask(gate, f"/~{TOKEN}/", BROWSER, method="POST")[0] == 200
    assert ask(gate, f"/~{TOKEN}/live", kind="websocket")[0] == 0
    assert [(scope["path"], scope["root_path"]) for scope in seen.scopes] == [
        (path, f"/~{TOKEN}") for path in ("/file", "/", "/", "/live")
    ]
    assert [scope["raw_path"] for scope in seen.scopes] == [b"/file", b"/", b"/", b"/live"]


def test_a_token_in_percent_signs(gate: Gate, seen: Seen) -> None:
    scope_path, raw = f"/~{TOKEN}/a b", f"/%7E{TOKEN}/a%20b".encode()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asked = {"type": "http", "method": "GET", "path": scope_path, "raw_path": raw, "query_string": b"", "headers": []}
    asyncio.run(gate(asked, None, send))  # type: ignore[arg-type]
    assert (seen.scopes[0]["path"], seen.scopes[0]["raw_path"]) == ("/a b", b"/a%20b")


def test_bearer(gate: Gate) -> None:
    assert ask(gate, "/", {"authorization": f"Bearer {TOKEN}"})[0] == 200
    assert ask(gate, "/", {"authorization": f"bearer {TOKEN}"})[0] == 200
    assert ask(gate, "/", {"authorization": f"Basic {TOKEN}"})[0] == 403
    assert ask(gate, "/", {"authorization": "Bearer x"})[0] == 403


def test_websocket_without_the_link(gate: Gate) -> None:
    assert ask(gate, "/live", kind="websocket")[0] == 4403


def test_files_for_everybody(gate: Gate) -> None:
    status, headers, body = ask(gate, "/ca.crt")
    assert (status, headers["content-type"], body) == (200, "application/x", b"CA")


def test_without_a_token_everybody_comes_in(seen: Seen) -> None:
    gate = Gate(seen, Link("http://a:80"), secure=False, port=80)
    assert ask(gate, "/~x/")[0] == 200
    assert seen.scopes[0]["path"] == "/~x/"


def test_plain_text_has_a_plain_cookie(seen: Seen) -> None:
    gate = Gate(seen, Link("http://a:80", TOKEN), secure=False, port=80)
    cookie = ask(gate, f"/~{TOKEN}/", BROWSER)[1]["set-cookie"]
    assert cookie.startswith("socketkit-80=") and "Secure" not in cookie


def test_other_sites_pages_are_not_let_in_by_the_cookie(seen: Seen) -> None:
    """`localhost:3000` is the same site to a browser: it sends the cookie with what that page asks for."""
    gate = Gate(seen, Link("http://localhost:80", TOKEN), secure=False, port=80)
    cookie = {"cookie": ask(gate, f"/~{TOKEN}/", BROWSER)[1]["set-cookie"].partition(";")[0], "host": "localhost"}
    for site, status in (("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403)):
        assert ask(gate, "/a", cookie | {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"})[0] == status
        visit = {"sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
        assert ask(gate, "/a", cookie | visit)[0] == 200  # a link that a person follows
        assert ask(gate, "/a", cookie | visit, method="POST")[0] == status
    for kind, refused in (("http", 403), ("websocket", 4403)):
        assert ask(gate, "/a", cookie | {"origin": "http://localhost:3000"}, kind=kind)[0] == refused
    assert ask(gate, "/a", cookie | {"origin": "http://localhost"}, kind="websocket")[0] == 0
    assert (
        ask(gate, f"/~{TOKEN}/a", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"})[0] == 200
    )  # by the link


@pytest.mark.parametrize("secure", [False, True])
def test_a_folder_that_nobody_knows(seen: Seen, secure: bool) -> None:
    link = Link("http://a:80", TOKEN)
    gate = Gate(seen, link, secure=secure, port=80, relative=True)
    status, headers, _ = ask(gate, f"/~{TOKEN}/a", BROWSER, query="x=1")
    folder = headers["location"].removesuffix("a?x=1")
    assert (status, re.fullmatch(r"/[0-9a-f]{24}/", folder) is not None) == (303, True)
    cookie, *attributes = headers["set-cookie"].split("; ")
    assert attributes == [f"Path={folder}", "HttpOnly", "SameSite=Strict", *(["Secure"] if secure else [])]
    assert cookie.startswith(f"{'__Secure-' if secure else ''}socketkit-80=")
    assert TOKEN not in str(headers)
    for path in (folder, f"{folder}a b/c"):
        assert ask(gate, path, {"cookie": cookie})[0] == 200
        assert ask(gate, path)[0] == 403
    assert ask(gate, f"{folder}live", {"cookie": cookie}, kind="websocket")[0] == 0
    assert [(scope["path"], scope["root_path"]) for scope in seen.scopes] == [
        (path, folder.removesuffix("/")) for path in ("/", "/a b/c", "/live")
    ]
    for path in ("/", "/a", folder.removesuffix("/"), f"/x{folder}"):
        assert ask(gate, path, {"cookie": cookie})[0] == 403
    assert ask(gate, "/metrics", {"authorization": f"Bearer {TOKEN}"})[0] == 200
    assert seen.scopes[-1]["path"] == "/metrics"
    again = Gate(seen, link, secure=secure, port=80, relative=True)  # after a start with the same token
    assert ask(again, folder, {"cookie": cookie})[0] == 200


def test_a_link_in_another_site_s_page_leads_to_the_folder(seen: Seen) -> None:
    """By a page: with a redirect the browser would not send the strict cookie that it was just given."""
    gate = Gate(seen, Link("http://a:80", TOKEN), secure=False, port=80, relative=True)
    followed = BROWSER | {"sec-fetch-site": "cross-site"}
    status, headers, body = ask(gate, f"/~{TOKEN}/a", followed, query='x="><b>&y')
    folder = headers["set-cookie"].partition("Path=")[2].partition(";")[0]
    assert status == 200
    assert f'content="0; url={folder}a?x=&quot;&gt;&lt;b&gt;&amp;y"'.encode() in body
    assert (headers["referrer-policy"], headers["cache-control"]) == ("no-referrer", "no-store")


def test_what_it_says_itself_runs_nothing(gate: Gate) -> None:
    for path in ("/", "/ca.crt", f"/~{TOKEN}/"):
        headers = ask(gate, path, BROWSER)[1]
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"


def test_lifespan_is_the_application_s(gate: Gate, seen: Seen) -> None:
    asyncio.run(gate({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen.scopes == [{"type": "lifespan"}]


WORDS = ["~", "/", "=", ";", " ", "k", TOKEN[1:], "socketkit-443", "__Host-", "Bearer", "\ufffd", "é"]
ODD = st.lists(st.sampled_from(WORDS)).map("".join)


@given(ODD, ODD, ODD)
def test_whatever_is_sent_opens_nothing(path: str, cookie: str, bearer: str) -> None:
    if TOKEN in path or TOKEN in bearer:
        return
    gate = Gate(Seen(), Link("https://192.168.1.7", TOKEN), secure=True, port=443)
    assert ask(gate, f"/{path}", {"cookie": cookie, "authorization": f"Bearer {bearer}"})[0] == 403
    assert ask(gate, f"/~{path}", {"cookie": cookie})[0] == 403
    assert ask(gate, f"/~{path}", kind="websocket")[0] == 4403
