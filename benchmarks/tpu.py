"""Compiles steps of T5-base for a TPU slice and lowers them for CUDA, on a CPU.

    JAX_PLATFORMS=cpu python benchmarks/tpu.py [--topology=v5e:2x4]

Prints JSON: per step the memory per chip, operations and collectives, and the least
time at the chip's peak rate. Takes about two minutes on two cores.
"""

import argparse
import json
from typing import Any

from dtvg_jax.methods import METHODS
from dtvg_jax.models.t5_config import T5Config
from dtvg_jax.training import compile_ahead

T5_BASE = T5Config(
    vocab_size=32128,
    d_model=768,
    d_kv=64,
    num_heads=12,
    d_ff=3072,
    num_layers=12,
    num_decoder_layers=12,
    activations=("relu",),
    tied_head=True,
    scale_outputs=True,
)
SHAPES = compile_ahead.Shapes(
    lanes=1,
    groups=1,
    sources=0,
    prompt_length=100,
    batch_size=64,
    inputs_length=256,
    targets_length=8,
)
STEPS = {
    "stage1": compile_ahead.Step(
        METHODS["prompt_tuning"], "adamw_stage1", SHAPES, dropout=True
    ),
    "dtvg": compile_ahead.Step(
        METHODS["dtvg"], "adamw_stage2", SHAPES._replace(sources=6), dropout=True
    ),
}
V5E = 197e12  # operations per second in bfloat16


def main() -> None:
    """Compiles, lowers, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topology", default="v5e:2x4")
    topology = parser.parse_args().topology
    results = compile_ahead.compile_steps(topology, T5_BASE, STEPS)
    for name in STEPS:
        figures: Any = results[name]
        figures["least_seconds"] = figures["operations"] / V5E
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
