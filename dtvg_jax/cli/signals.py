"""What SIGTERM and SIGINT do: stop a command at once, or between two of its steps."""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from dtvg_jax.errors import Stopped

Check = Callable[[], None]

# Seconds that a command which is to stop at once may take to remove what it has half
# written; a call that runs for longer, such as a compilation, is not waited for.
GRACE = 3.0


class Signals:
    """The signals of a command: each raises Stopped, at once unless they are to wait.

    Attributes:
      first: the first signal that has come.
      raised: whether Stopped was raised in the middle of what ran then.
      waiting: whether signals wait for the next call of a check.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self.raised = False
        self.waiting = False

    @contextlib.contextmanager
    def between_steps(self) -> Iterator[Check]:
        """Yields a check that raises Stopped after a signal; nothing else does.

        For what saves its state on its way out, so that the same command resumes.
        """
        self.waiting = True
        try:
            yield self._check
            self._check()  # what was announced is what happens
        finally:
            self.waiting = False

    def _check(self) -> None:
        if self.first is not None:
            raise Stopped(self.first, resumes=True)

    def receive(self, number: int, _: FrameType | None) -> None:
        """Notes a signal, and raises Stopped unless it is to wait."""
        self.first = self.first or number
        if not self.waiting:
            self.raised = True
            raise Stopped(number)


@contextlib.contextmanager
def received() -> Iterator[Signals]:
    """Receives SIGTERM and SIGINT until it ends; a second one ends the process."""
    signals = Signals()
    inbox, outbox = socket.socketpair()
    outbox.setblocking(False)
    # A Python signal handler would have to wait while XLA compiles, which takes
    # minutes for a large backbone: a thread learns of the signal through a socket.
    thread = threading.Thread(target=_listen, args=(inbox, signals), daemon=True)
    thread.start()
    wakeup = signal.set_wakeup_fd(outbox.fileno())
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, signals.receive) for number in numbers}
    try:
        yield signals
    except Exception:
        # Libraries make errors of their own of what is raised while they load.
        if signals.raised and signals.first is not None:
            raise Stopped(signals.first) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        outbox.close()
        thread.join()
        inbox.close()


def said(number: int) -> str:
    """What is said of a command that a signal has stopped at once."""
    return f"stopped by {signal.Signals(number).name}"


def _listen(inbox: socket.socket, signals: Signals) -> None:
    """Ends the process at the second signal, or where the first cannot stop it."""
    first = inbox.recv(1)
    if not first:
        return
    number = first[0]
    if signals.waiting:
        name = signal.Signals(number).name
        _say(f"{name}: stopping after this step; a second signal stops at once")
    else:
        inbox.settimeout(GRACE)
    try:
        second = inbox.recv(1)
    except TimeoutError:
        _say(said(number))
        os._exit(128 + number)
    if second:
        os._exit(128 + second[0])


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
