"""What SIGTERM and SIGINT do: end a command at once, or between two of its steps."""

import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

from dtvg_jax.cli.early_signals import NUMBERS, end
from dtvg_jax.errors import Stopped

Check = Callable[[], None]


class Signals:
    """The signals of a command; they end the process at once unless asked to wait.

    A signal never raises an exception wherever the program is: libraries interrupted
    while they load fail with errors of their own, or crash. All that is written by then
    is whole, since files are replaced whole.
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._waiting = False

    @contextlib.contextmanager
    def between_steps(self) -> Iterator[Check]:
        """Yields a check that raises Stopped after a signal; signals wait for it.

        For code that saves its state when it is stopped, so that it can be resumed.
        """
        self._waiting = True
        try:
            yield self._check
            self._check()  # a stop that was announced happens
        finally:
            self._waiting = False

    def _check(self) -> None:
        if self._first is not None:
            raise Stopped(self._first)

    def listen(self, inbox: socket.socket) -> None:
        """Ends the process at a signal, or at the second if the first waits."""
        while received := inbox.recv(1):
            number = received[0]
            if self._first is not None or not self._waiting:
                end(number)
            self._first = number
            name = signal.Signals(number).name
            message = f"{name}: stopping after this step; a second signal stops at once"
            print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def received() -> Iterator[Signals]:
    """Receives SIGTERM and SIGINT until it ends."""
    signals = Signals()
    inbox, outbox = socket.socketpair()
    outbox.setblocking(False)
    # A Python signal handler would have to wait while XLA compiles, which takes
    # minutes for a large backbone: a thread learns of the signal through a socket.
    thread = threading.Thread(target=signals.listen, args=(inbox,), daemon=True)
    thread.start()
    wakeup = signal.set_wakeup_fd(outbox.fileno())
    before = {number: signal.signal(number, lambda *_: None) for number in NUMBERS}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        outbox.close()
        thread.join()
        inbox.close()
