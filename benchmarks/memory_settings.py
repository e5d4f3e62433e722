"""Times a step with the memory settings of the commands and with the system's own.

    python -m benchmarks.memory_settings [--steps=10] [--rounds=3]

Each is a fresh process that is never idle while it is timed: on machines whose kernel
takes back idle pages, waiting for a turn makes the settings look harmful.
`mallopt` sets the same thresholds from within the process, which cannot ask for large
pages. Models and shapes: the miniature with the quick start's 36 lanes of 16 rows, and
T5-small with one lane of 32 rows of 64 tokens. CPU seconds are those to compare
on a machine that others use. Prints JSON; takes five minutes on two cores.
"""

import argparse
import ctypes
import json
import tempfile

import jax

from benchmarks import models, sides, turns
from dtvg_jax.files import JsonObject
from dtvg_jax.formats.load import load_backbone

# count, rows, lengths, prompt_length of `turns.prompt_turn`
SHAPES = {
    "miniature": (36, 16, (32, 2), 16),
    "t5_small": (1, 32, (64, 8), 100),
}
# Parameters of mallopt, from malloc.h, and the settings of the commands for them. The
# larger one exceeds its C int: the largest stands for it.
THRESHOLDS = {-3: 2**30, -1: 2**31 - 1}


def one(model: str, steps: int, mallopt: bool) -> JsonObject:
    """Times steps in this process."""
    library = ctypes.CDLL(None)
    for parameter, value in THRESHOLDS.items() if mallopt else ():
        if library.mallopt(parameter, value) != 1:
            raise OSError(f"mallopt refuses {parameter} = {value}")
    if model == "miniature":
        backbone = load_backbone(model)
    else:
        backbone = models.random_backbone(models.T5_SMALL)
    turn = turns.prompt_turn(backbone, *SHAPES[model])
    return sides.timed(lambda: jax.block_until_ready(turn()), 2, steps)


def compare(model: str, steps: int, rounds: int) -> JsonObject:
    """Runs the three in alternation; ratios are to the system's own settings."""
    command = ("benchmarks.memory_settings", f"--side={model}", f"--steps={steps}")
    with tempfile.TemporaryDirectory() as cache:
        found = sides.alternate(
            {
                "tuned": [sides.ours(*command, cache_dir=cache)],
                "mallopt": [
                    sides.ours(*command, "--mallopt", cache_dir=cache, tuned=False)
                ],
                "plain": [sides.ours(*command, cache_dir=cache, tuned=False)],
            },
            rounds,
        )
    return {name: sides.ratios(found, name, "plain") for name in ("tuned", "mallopt")}


def main() -> None:
    """Compares and prints, or is one side."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=list(SHAPES), help=argparse.SUPPRESS)
    parser.add_argument("--mallopt", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.side:
        print(json.dumps(one(flags.side, flags.steps, flags.mallopt)))
        return
    found = {name: compare(name, flags.steps, flags.rounds) for name in SHAPES}
    print(json.dumps({"steps": flags.steps} | found, indent=1))


if __name__ == "__main__":
    main()
