"""Trains a prompt of SmolLM2-135M's shapes, against PyTorch with PEFT.

    python -m benchmarks.llama --peer_python=PYTHON [--steps=5] [--rounds=3]

Random weights, float32, P = 100, a batch of 16 rows of 64 input and 8 target tokens.
Both sides compute logits at targets only; ours computes the prompt's keys and values
once for all rows. Fresh processes alternate. Prints JSON; takes ten minutes on two
cores.
"""

import argparse
import json
import pathlib
import tempfile

import jax
import numpy as np

from benchmarks import models, rows, sides, turns
from dtvg_jax.files import JsonObject

PROMPT_LENGTH, BATCH, LENGTHS = 100, 16, (64, 8)
WARM = 2


def train(steps: int) -> JsonObject:
    """Times steps in this process."""
    backbone = models.random_backbone(models.SMOLLM2_135M)
    turn = turns.prompt_turn(backbone, 1, BATCH, LENGTHS, PROMPT_LENGTH)
    return sides.timed(lambda: jax.block_until_ready(turn()), WARM, steps) | {
        "versions": sides.versions("jax", "jaxlib")
    }


def compare(peer_python: str, steps: int, rounds: int) -> JsonObject:
    """Runs both sides in alternation."""
    with tempfile.TemporaryDirectory() as cache:
        path = pathlib.Path(cache) / "rows.npz"
        vocabulary = models.SMOLLM2_135M.vocab_size
        table = rows.of_one_length(BATCH, LENGTHS, vocabulary)
        rows.write(path, *rows.of_table(table, np.arange(BATCH)))
        mine = sides.ours(
            "benchmarks.llama", f"--steps={steps}", "--side", cache_dir=cache
        )
        theirs = sides.peer(
            peer_python, "llama_training.py", str(path), f"--steps={steps}"
        )
        found = sides.alternate({"ours": [mine], "peer": [theirs]}, rounds)
    about = {name: results[-1].about for name, results in found.items()}
    ratios = sides.ratios(found, "ours", "peer")
    return {"steps": steps, "about": about, "ratios": ratios}


def main() -> None:
    """Compares and prints, or is one side."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer_python", help="a Python with the extra bench")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.side:
        print(json.dumps(train(flags.steps)))
        return
    if not flags.peer_python:
        parser.error("--peer_python is required")
    print(json.dumps(compare(flags.peer_python, flags.steps, flags.rounds), indent=1))


if __name__ == "__main__":
    main()
