"""What a router takes away is what is reported, message for message."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.measured import measured_again
from tests.threats.namespaces import Network

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

SOCKETKIT = (sys.executable, "-m", "socketkit")
# Of messages only: what both sides say to each other is shorter.
RULES = """table inet loss {
  chain input {
    type filter hook input priority 0
    udp length > 900 numgen random mod 100 < 5 counter drop
  }
}"""


@pytest.mark.parametrize("reverse", [False, True], ids=["up", "down"])
@measured_again
def test_reported_loss_is_what_the_firewall_has_dropped(program: Callable[[str], str], reverse: bool) -> None:
    nft, ip = program("nft"), program("ip")
    with Network("server", "client") as network:
        server, client = network["server"], network["client"]
        for host in (server, client):  # the firewall is to see messages, not the batches that they are sent in
            host.run(ip, "link", "set", "dev", "eth0", "gso_max_segs", "1")
        url = f"udp4://{server.ip4}:5201?plaintext=yes"
        waiting = server.start(*SOCKETKIT, "serve", "bench", url, stderr=subprocess.PIPE, text=True)
        assert "listening on" in waiting.stderr.readline()  # type: ignore[union-attr]
        receiver = client if reverse else server
        receiver.run(nft, RULES)
        words = ("-t", "2", "-b", "20M", "-l", "1000", "--json", url)
        report = json.loads(client.run(*SOCKETKIT, "bench", *["-R"] * reverse, *words))
        counted = re.search(r"counter packets (\d+)", receiver.run(nft, "list", "ruleset"))
    direction = report["down" if reverse else "up"]
    assert counted is not None
    assert direction["lost"] == int(counted[1])
    assert direction["messages"] + direction["lost"] == direction["sent_bytes"] // 1000
    assert direction["lost_fraction"] == pytest.approx(0.05, abs=0.015)
    assert direction["bits_per_second"] == pytest.approx(19_000_000, rel=0.05)
