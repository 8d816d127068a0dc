"""Frameworks that we did not write, unmodified: Starlette, FastAPI and Django, asked by httpx and curl."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import websockets
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from socketkit.http import Service, serve
from tests.conftest import Run

pytestmark = [pytest.mark.usefixtures("no_leaks"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


async def asked(service: Service, method: str, path: str, **words: Any) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.request(method, f"http://127.0.0.1:{service.local.port}{path}", **words)


# --- Starlette


async def upload(request: Request) -> JSONResponse:
    count = 0
    async for piece in request.stream():
        count += len(piece)
    return JSONResponse({"bytes": count, "x": request.query_params["x"]})


async def numbers(_: Request) -> StreamingResponse:
    async def pieces() -> AsyncIterator[str]:
        for number in range(5):
            await asyncio.sleep(0)
            yield f"{number}\n"

    return StreamingResponse(pieces())


async def shout(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text((await socket.receive_text()).upper())
    await socket.close()


background: list[str] = []


async def later(_: Request) -> PlainTextResponse:
    return PlainTextResponse("now", background=BackgroundTask(background.append, "later"))


async def through(request: Request, call_next: Any) -> Any:
    response = await call_next(request)
    response.headers["x-through"] = "yes"
    return response


def starlette() -> Starlette:
    routes = [
        Route("/upload", upload, methods=["POST"]),
        Route("/numbers", numbers),
        Route("/later", later),
        WebSocketRoute("/shout", shout),
    ]
    return Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=through)])


def test_starlette(run: Run) -> None:
    async def main() -> tuple[Any, str, str]:
        async with serve("tcp://127.0.0.1:0", starlette()) as service:
            told = (await asked(service, "POST", "/upload?x=y", content=bytes(300_000))).json()
            streamed = await asked(service, "GET", "/numbers")
            assert streamed.headers["x-through"] == "yes"
            assert (await asked(service, "GET", "/later")).text == "now"
            assert (await asked(service, "GET", "/nowhere")).status_code == 404
            async with websockets.connect(f"ws://127.0.0.1:{service.local.port}/shout") as socket:
                await socket.send("loud")
                return told, streamed.text, str(await socket.recv())

    assert run(main()) == ({"bytes": 300_000, "x": "y"}, "0\n1\n2\n3\n4\n", "LOUD")
    assert background.pop() == "later"


# --- FastAPI


def fastapi() -> FastAPI:
    app = FastAPI()

    def twice(x: int) -> int:
        return 2 * x

    @app.get("/sync")
    def in_a_thread(number: int = Depends(twice)) -> dict[str, int]:
        return {"number": number}

    @app.post("/items", status_code=201)
    async def item(body: dict[str, int]) -> dict[str, int]:
        return body

    @app.delete("/items", status_code=204)
    async def gone() -> None:
        return None

    return app


def test_fastapi(run: Run) -> None:
    async def main() -> list[Any]:
        async with serve("tcp://127.0.0.1:0", fastapi()) as service:
            first = await asked(service, "GET", "/sync?x=21")
            second = await asked(service, "POST", "/items", json={"a": 1})
            third = await asked(service, "DELETE", "/items")
            fourth = await asked(service, "GET", "/sync?x=none")
            schema = await asked(service, "GET", "/openapi.json")
            assert "/items" in schema.json()["paths"]
            return [first.json(), second.status_code, second.json(), third.status_code, fourth.status_code]

    assert run(main()) == [{"number": 42}, 201, {"a": 1}, 204, 422]


# --- Django


DJANGO = """
import asyncio, sys
import django
from django.conf import settings
middleware = ["django.middleware.common.CommonMiddleware"]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x", MIDDLEWARE=middleware)
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path
async def hello(request):
    return HttpResponse(f"hello {request.GET['name']} over {request.scheme}")
def posted(request):
    return HttpResponse(str(len(request.body)))
from django.views.decorators.csrf import csrf_exempt
urlpatterns = [path("hello", hello), path("posted", csrf_exempt(posted))]
from socketkit.http import serve
async def main():
    async with serve("tcp://127.0.0.1:0", get_asgi_application()) as service:
        print(service.local.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
asyncio.run(main())
"""


@pytest.mark.slow
def test_django(program: Callable[[str], str]) -> None:
    """In a process of its own: its settings are a process's."""
    command = [sys.executable, "-c", DJANGO]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        hello = subprocess.run([program("curl"), "-sS", f"{url}/hello?name=you"], capture_output=True, text=True)
        posted = subprocess.run([program("curl"), "-sS", f"{url}/posted", "-d", "abc"], capture_output=True, text=True)
        process.stdin.close()
        assert process.wait(20) == 0
    assert (hello.stdout, posted.stdout) == ("hello you over http", "3")
