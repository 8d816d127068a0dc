"""TCP probes on loopback; behind filters and with losses they are in tests/inspect/test_scan.py."""

from __future__ import annotations

import socket
from contextlib import aclosing

import pytest

from socketkit import _core
from socketkit.errors import SocketError
from socketkit.inspect import targets
from socketkit.inspect.scan import scan
from socketkit.inspect.tcp_scan import CLOSED, OPEN, TcpScan
from tests.conftest import Run


def test_by_connecting(run: Run) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))  # nobody listens there, and nobody else can
            ports = sorted([listener.getsockname()[1], bound.getsockname()[1]])
            known, _ = targets.read(["127.0.0.1"])
            scanning = TcpScan(known, ports, "connect")
            assert scanning.progress == {}
            assert scanning.outcome() == [(b"", False)]
            async with aclosing(scanning.found()) as found:
                (one,) = [one async for one in found]
            assert (one.target, one.port) == (0, listener.getsockname()[1])
            ((states, unreachable),) = scanning.outcome()
            assert [states[ports.index(each.getsockname()[1])] for each in (listener, bound)] == [OPEN, CLOSED]
            assert not unreachable
            scanning.close()
            assert scanning.progress["sent"] >= 2
            assert scanning.method == "connect"

    run(main())


def test_half_open_needs_rights(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, sockets: int | None, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(_core, "Scanner", refused)

    async def main() -> None:
        scanning = scan("127.0.0.1", "80", method="syn")
        with pytest.raises(SocketError, match="CAP_NET_RAW"):
            await scanning
        assert "CAP_NET_RAW" in scanning.why
        assert scanning.method == "syn"

    run(main())
