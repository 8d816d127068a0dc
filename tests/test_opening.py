"""From a scheme to the module that opens it."""

from __future__ import annotations

import pytest

from socketkit import Endpoint, Limits, Listener, Stream, Unsupported
from socketkit.drivers import LoopDriver
from socketkit.opening import OPENED, open_listener, open_stream, unsupported
from socketkit.schemes import SCHEMES
from tests.conftest import Run


class Counted(Stream):
    __slots__ = ()


class CountedListener(Listener):
    __slots__ = ()


def test_the_classes_are_the_callers(run: Run, no_leaks: None) -> None:
    """The blocking face opens its own with the same code."""

    async def main() -> None:
        driver = LoopDriver.current()
        listener = await open_listener(CountedListener, Counted, "mem://", driver, Limits())
        ours = await open_stream(Counted, listener.local, driver, Limits())
        theirs = await listener.accept()
        assert [type(each) for each in (listener, ours, theirs)] == [CountedListener, Counted, Counted]
        assert repr(ours).startswith("<Counted mem://")
        for each in (ours, theirs, listener):
            await each.aclose()

    run(main())


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_every_scheme_opens_or_says_what_is_missing(scheme: str) -> None:
    if scheme not in OPENED:
        error = unsupported("connect", Endpoint.parse(EXAMPLES.get(scheme, f"{scheme}://127.0.0.1:1")))
        assert isinstance(error, Unsupported)
        assert "its socket type" not in str(error), "no word for what is missing"


EXAMPLES = {
    "bt-l2cap": "bt-l2cap://00-11-22-33-44-55:25",
    "bt-rfcomm": "bt-rfcomm://00-11-22-33-44-55:1",
    "dgram+unix": "dgram+unix:///socket",
    "icmp": "icmp://127.0.0.1",
    "raw+ethernet": "raw+ethernet://lo",
    "raw+ip": "raw+ip://127.0.0.1?proto=253",
    "seqpacket+unix": "seqpacket+unix:///socket",
    "seqpacket+vsock": "seqpacket+vsock://2:1",
    "tls+unix": "tls+unix:///socket",
    "udp6": "udp6://[::1]:1",
    "vsock": "vsock://2:1",
}
