"""Compares processes: each side a fresh one, in alternation, so that none idles.

A side is a command whose last line on standard output is a JSON object. Ours runs with
the memory settings that `python -m dtvg_jax.train` gives itself; a peer's environment
is left as it is. Both may use all cores.
"""

import importlib.metadata
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from dtvg_jax.cli import host_settings
from dtvg_jax.files import JsonObject

ROOT = pathlib.Path(__file__).resolve().parents[1]
PEERS = ROOT / "benchmarks" / "peers"
MEASURED = ("seconds", "cpu_seconds", "peak_mb")


class Side(NamedTuple):
    """A command and what its environment has beside this process's."""

    command: Sequence[str]
    environment: Mapping[str, str] = {}


def ours(module: str, *arguments: str, cache_dir: str, tuned: bool = True) -> Side:
    """Describes a module of ours; without `tuned`, memory is as the system sets it."""
    environment = {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": cache_dir}
    environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    # An empty variable is the user's own setting: none.
    environment["GLIBC_TUNABLES"] = host_settings.TUNABLES if tuned else ""
    return Side([sys.executable, "-m", module, *arguments], environment)


def peer(python: str, script: str, *arguments: str) -> Side:
    """Describes a script of benchmarks/peers under the Python that has its packages."""
    return Side([python, str(PEERS / script), *arguments])


class Found(NamedTuple):
    """What a side has printed: numbers by name, and what else it says of itself."""

    numbers: dict[str, float]
    about: JsonObject


def run(side: Side) -> Found:
    """Runs a side to its end; what it says on standard error is shown."""
    done = subprocess.run(
        side.command,
        cwd=ROOT,
        env=os.environ | side.environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    printed = json.loads(done.stdout.splitlines()[-1])
    numbers = {
        name: float(x) for name, x in printed.items() if isinstance(x, int | float)
    }
    return Found(
        numbers, {name: x for name, x in printed.items() if name not in numbers}
    )


def alternate(
    sides: Mapping[str, Sequence[Side]], rounds: int
) -> dict[str, list[Found]]:
    """Runs all sides in every round, in turn forwards and backwards.

    A side of several processes, run one after the other, counts as their sum.
    """
    found: dict[str, list[Found]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            found[name].append(_total([run(side) for side in sides[name]]))
            print(name, found[name][-1], file=sys.stderr, flush=True)
    return found


def _total(parts: Sequence[Found]) -> Found:
    first, *_ = parts
    total = {
        name: round(sum(part.numbers[name] for part in parts), 3)
        for name in ("seconds", "cpu_seconds", "real", "positions")
        if name in first.numbers
    }
    peak = max(part.numbers["peak_mb"] for part in parts)
    return Found(first.numbers | total | {"peak_mb": peak}, first.about)


def ratios(
    found: Mapping[str, Sequence[Found]], ours: str, other: str
) -> dict[str, JsonObject]:
    """Gives medians of both sides, and of what one is over the other in a round."""

    def measured(side: str, name: str) -> list[float]:
        return [one.numbers[name] for one in found[side]]

    return {
        name: {
            ours: statistics.median(measured(ours, name)),
            other: statistics.median(measured(other, name)),
            "ratio": round(
                statistics.median(
                    a / b
                    for a, b in zip(
                        measured(ours, name), measured(other, name), strict=True
                    )
                ),
                3,
            ),
        }
        for name in MEASURED
    }


class Clock:
    """Wall and CPU time of this process since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> JsonObject:
        """Gives seconds since then and the peak of memory, as all sides print them."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "seconds": round(time.perf_counter() - self._wall, 3),
            "cpu_seconds": round(time.process_time() - self._cpu, 3),
            "peak_mb": peak // 1024,
        }


def timed(step: Callable[[], object], warm: int, steps: int) -> JsonObject:
    """Times a step that waits for its result, after `warm` that are not counted."""
    for _ in range(warm):
        step()
    clock = Clock()
    for _ in range(steps):
        step()
    return clock.read()


def versions(*packages: str) -> dict[str, str]:
    """Gives the versions of packages, and how many cores there are."""
    found = {name: importlib.metadata.version(name) for name in packages}
    return found | {"cores": str(len(os.sched_getaffinity(0)))}
