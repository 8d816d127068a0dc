"""Serves a folder (`--folder`) as the program that `--with` names does: socketkit, uvicorn (Starlette), http.server."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from startup import BACKLOG, announce, run, tls_context, value_of


async def socketkit_(folder: str) -> None:
    from socketkit.hosting import Wanted
    from socketkit.uses import web

    # What `socketkit serve web --public` runs, list of peers and all.
    async with web.serve(folder, Wanted(public=True, tls="--tls" in sys.argv)) as hosted:
        announce(hosted.local.port)
        await hosted.wait()


async def uvicorn_(folder: str) -> None:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    app = Starlette(routes=[Mount("/", StaticFiles(directory=folder))])
    pem = value_of("--tls")
    config = uvicorn.Config(
        app,
        http="httptools",
        log_level="critical",
        access_log=False,
        backlog=BACKLOG,
        ssl_certfile=pem,
        ssl_keyfile=pem,
    )
    # With its protocol: asyncio sets TCP_NODELAY on what says that it is TCP, and a socket of proto 0 does not.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        announce(listener.getsockname()[1])
        await uvicorn.Server(config).serve([listener])


def http_server(folder: str) -> None:
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = BACKLOG

    with Server(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        context = tls_context()
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        announce(server.server_address[1])
        server.serve_forever()


folder, program = value_of("--folder"), value_of("--with")
assert folder is not None
assert Path(folder).is_dir()
if program == "http.server":
    http_server(folder)
else:
    served = {"socketkit": socketkit_, "uvicorn": uvicorn_}[program or "socketkit"](folder)
    run(served)
