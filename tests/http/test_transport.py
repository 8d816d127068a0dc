"""httpcore alone over our connections; httpx is in test_for_httpx.py."""

from __future__ import annotations

from pathlib import Path

import httpcore
import pytest

from socketkit import Limits
from socketkit.http import serve as serve_http
from socketkit.http.transport import NetworkBackend
from tests.conftest import Run
from tests.http.applications import hello


def test_httpcore_alone_over_a_unix_socket(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "socket")
        async with serve_http(f"unix://{path}", hello):
            backend = NetworkBackend(limits=Limits())
            async with httpcore.AsyncConnectionPool(uds=path, network_backend=backend) as pool:
                answer = await pool.request("GET", "http://localhost/u")
                assert answer.content == b"hello"
                stream = answer.extensions["network_stream"]
                assert stream.get_extra_info("nothing") is None

    run(main())


def test_what_is_not_taken(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="local_address"):
            await NetworkBackend().connect_tcp("localhost", 1, local_address="127.0.0.1")
        backend = NetworkBackend()
        await backend.sleep(0)
        unopened = await backend.connect_tcp("localhost", 1)
        assert unopened.get_extra_info("is_readable") is None
        await unopened.aclose()

    run(main())
