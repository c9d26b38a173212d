"""TLS before an engine's socket, on the loopback: who has no certificate of the authority is not let in."""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from .registry_process import Authority


@contextlib.contextmanager
def behind_tls(target: Path, authority: Authority) -> Iterator[int]:
    """Yield the port at which connections that show a certificate are passed on to a socket."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(*authority.issue())
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(listening, context, target), daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        # Closing alone would leave the thread waiting.
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def _accept(listening: socket.socket, context: ssl.SSLContext, target: Path) -> None:
    while True:
        try:
            plain, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(plain, context, target), daemon=True).start()


def _serve(plain: socket.socket, context: ssl.SSLContext, target: Path) -> None:
    with (
        contextlib.suppress(OSError),
        context.wrap_socket(plain, server_side=True) as outside,
        socket.socket(socket.AF_UNIX) as inside,
    ):
        inside.connect(str(target))
        _pass_both_ways(outside, inside)


def _pass_both_ways(outside: ssl.SSLSocket, inside: socket.socket) -> None:
    """Pass on what comes from either side, in one thread, until the engine's side ends."""
    watched: list[socket.socket] = [outside, inside]
    while True:
        ready = [outside] if outside.pending() else select.select(watched, (), ())[0]
        for source in ready:
            data = source.recv(65536)
            if source is inside and not data:
                return
            if not data:
                # A client that has said all waits for the answer.
                watched.remove(outside)
                inside.shutdown(socket.SHUT_WR)
                continue
            (inside if source is outside else outside).sendall(data)
