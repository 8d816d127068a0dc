"""Echo of datagrams with socketkit, blocking; or a sink (`--sink`)."""

from __future__ import annotations

from startup import SINK, announce, answer, is_question, widen

from socketkit import sync


def echo(udp: sync.Datagrams) -> None:
    while True:
        datagram = udp.receive()
        udp.answer(datagram, datagram.data)


def sink(udp: sync.Datagrams) -> None:
    count = 0
    while True:
        datagram = udp.receive()
        if is_question(datagram.data):
            udp.answer(datagram, answer(count))
        else:
            count += 1


with sync.bind("udp://127.0.0.1:0") as datagrams:
    widen(datagrams.fileno())
    announce(datagrams.local.port)
    (sink if SINK else echo)(datagrams)
