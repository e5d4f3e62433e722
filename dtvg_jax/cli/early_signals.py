"""Ends a command at a signal while Python still loads it.

This is imported before anything else, and imports next to nothing.
"""

import os
import signal
import sys
from types import FrameType

NUMBERS = (signal.SIGTERM, signal.SIGINT)


def end(number: int, _: FrameType | None = None) -> None:
    """Ends the process because of a signal, and says so."""
    print(f"stopped by {signal.Signals(number).name}", file=sys.stderr, flush=True)
    os._exit(128 + number)


def end_if_command() -> None:
    """Lets signals end a command that Python still loads, without a traceback.

    `import dtvg_jax` in any other program changes nothing.
    """
    # So it is while `python -m` imports the package of the module.
    module = sys.argv[:1] == ["-m"] and any(
        word.startswith("dtvg_jax.") for word in sys.orig_argv
    )
    script = os.path.basename("".join(sys.argv[:1])).startswith("dtvg-")
    if module or script:
        for number in NUMBERS:
            signal.signal(number, end)
