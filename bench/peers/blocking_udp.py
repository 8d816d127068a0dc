"""Echo of datagrams with the standard library's socket, a plain blocking loop; or a sink (`--sink`)."""

from __future__ import annotations

import socket

from startup import SINK, announce, answer, is_question, wide_socket


def echo(sock: socket.socket) -> None:
    receive, send = sock.recvfrom, sock.sendto
    while True:
        data, peer = receive(65535)
        send(data, peer)


def sink(sock: socket.socket) -> None:
    receive, count = sock.recvfrom, 0
    while True:
        data, peer = receive(65535)
        if is_question(data):
            sock.sendto(answer(count), peer)
        else:
            count += 1


sock = wide_socket()
announce(sock.getsockname()[1])
(sink if SINK else echo)(sock)
