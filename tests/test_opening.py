"""From a scheme to the module that opens it."""

from __future__ import annotations

import pytest

from socketkit import Endpoint, Limits, Listener, Stream, Unsupported
from socketkit.drivers import LoopDriver
from socketkit.opening import binder, connector, is_over_stream, open_listener, open_stream, socket_connector
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


OPENERS = {"Stream": connector, "Messages": socket_connector, "Datagrams": binder}


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_every_scheme_opens_or_says_what_is_missing(scheme: str) -> None:
    """Each shape that the table of schemes promises is known to a module, or the error says what this version lacks."""
    endpoint = Endpoint.parse(EXAMPLES.get(scheme, f"{scheme}://127.0.0.1:1"))
    for shape in SCHEMES[scheme].shapes:
        opener = connector if is_over_stream(endpoint) else OPENERS.get(shape)
        if opener is None:
            continue
        try:
            opener(endpoint)
        except Unsupported as error:
            assert scheme.startswith(("quic", "bt-")) or (scheme, shape) in UNSHAPED
            assert "its socket type" not in str(error), "no word for what is missing"


# Those inside a process come with sessions.
UNSHAPED = {("mem", "Datagrams")}

EXAMPLES = {
    "bt-l2cap": "bt-l2cap://00-11-22-33-44-55:25",
    "bt-rfcomm": "bt-rfcomm://00-11-22-33-44-55:1",
    "dgram+unix": "dgram+unix:///socket",
    "fd": "fd://3",
    "icmp": "icmp://127.0.0.1",
    "mem": "mem://name",
    "raw+ethernet": "raw+ethernet://lo",
    "raw+ip": "raw+ip://127.0.0.1?proto=253",
    "seqpacket+unix": "seqpacket+unix:///socket",
    "seqpacket+vsock": "seqpacket+vsock://2:1",
    "tls+unix": "tls+unix:///socket",
    "tcp6": "tcp6://[::1]:1",
    "udp6": "udp6://[::1]:1",
    "unix": "unix:///socket",
    "vsock": "vsock://2:1",
}
