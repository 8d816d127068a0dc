"""A capture through a Python API: says `ready`, counts what it sees until it is interrupted, then prints the count.

capturing.py socketkit|scapy INTERFACE FILTER
"""

from __future__ import annotations

import asyncio
import signal
import sys


async def socketkit(interface: str, wanted: str) -> int:
    from socketkit.inspect.capture import capture

    count = 0
    async with capture(interface, filter=wanted) as packets:
        loop, receiving = asyncio.get_running_loop(), asyncio.current_task()
        assert receiving is not None
        loop.add_signal_handler(signal.SIGINT, receiving.cancel)
        print("ready", flush=True)
        try:
            async for batch in packets.batches():
                count += len(batch)
        except asyncio.CancelledError:
            count += len(await packets.rest())
    return count


def scapy(interface: str, wanted: str) -> int:
    from scapy.all import AsyncSniffer

    count = 0

    def see(packet: object) -> None:
        nonlocal count
        count += 1

    sniffer = AsyncSniffer(
        iface=interface, filter=wanted, store=False, prn=see, started_callback=lambda: print("ready", flush=True)
    )
    sniffer.start()
    signal.sigwait({signal.SIGINT})
    return count


if __name__ == "__main__":
    library, interface, wanted = sys.argv[1:]
    if library == "scapy":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        print(scapy(interface, wanted))
    else:
        print(asyncio.run(socketkit(interface, wanted)))
