"""Lets SIGTERM and SIGINT stop a command between two steps, its state saved."""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

from dtvg_jax.errors import Stopped

Check = Callable[[], None]


@contextlib.contextmanager
def stopping() -> Iterator[Check]:
    """Yields a check that raises Stopped once SIGTERM or SIGINT has come.

    A second signal ends the process at once.
    """
    received: list[int] = []
    inbox, outbox = socket.socketpair()
    outbox.setblocking(False)

    def check() -> None:
        if received:
            raise Stopped(received[0])

    # A Python signal handler would have to wait while XLA compiles, which takes
    # minutes for a large backbone: a thread learns of the signal through a socket.
    thread = threading.Thread(target=_listen, args=(inbox, received), daemon=True)
    thread.start()
    wakeup = signal.set_wakeup_fd(outbox.fileno())
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {n: signal.signal(n, lambda *_: None) for n in numbers}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        outbox.close()
        thread.join()
        inbox.close()


def _listen(inbox: socket.socket, received: list[int]) -> None:
    """Appends the first signal to `received`, and ends the process at the second."""
    while number := inbox.recv(1):
        if received:
            os._exit(128 + number[0])
        received.append(number[0])
        name = signal.Signals(number[0]).name
        said = f"{name}: stopping after this step; a second signal stops at once"
        print(said, file=sys.stderr, flush=True)
