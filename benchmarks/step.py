"""Times training steps against each other: methods, lanes, buckets, loops of layers.

    python -m benchmarks.step [--quick] [--only=methods|lanes|many_lanes|buckets|loops]

Prints JSON: seconds per step (least and median over repeats) and their ratios.
Compared steps alternate in one process, so that drift of the machine affects all of
them; a ratio is the median over rounds of the ratio within a round. Weights are random,
dropout is off, memory is set as the commands set it. Takes about ten minutes on two
cores, two with --quick.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator

import jax

from benchmarks import models, sides, turns
from dtvg_jax.cli import host_settings
from dtvg_jax.files import JsonObject
from dtvg_jax.formats.load import load_backbone
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models import layers
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.models.t5_config import T5Config

PROMPT_LENGTH = 100
QUICK, LONG = 3, 15


def methods(repeats: int) -> JsonObject:
    """Compares full fine-tuning, prompt tuning and DTVG, one lane of 8 rows each."""
    small = models.random_backbone(models.T5_SMALL)
    rows, lengths = 8, (64, 8)
    compared = {
        "full": turns.full_turn(small, rows, lengths, PROMPT_LENGTH),
        "prompt": turns.prompt_turn(small, 1, rows, lengths, PROMPT_LENGTH),
    }
    for sources in (6, 26, 100):
        compared[f"dtvg_{sources}"] = turns.prompt_turn(
            small, 1, rows, lengths, PROMPT_LENGTH, "dtvg", sources
        )
    pairs = [(name, "prompt") for name in compared if name.startswith("dtvg")]
    times = turns.take(compared, repeats)
    found = turns.summary(times, [("prompt", "full"), *pairs])
    return {"rows": rows, "lengths": lengths} | found


def lanes(repeats: int) -> JsonObject:
    """Compares 8 lanes of 4 rows with one lane of 32."""
    found = {}
    for name, backbone, times in (
        ("t5_small", models.random_backbone(models.T5_SMALL), max(3, repeats // 2)),
        ("miniature", load_backbone("miniature"), 4 * repeats),
    ):
        compared = {
            f"{count}x{rows}": turns.prompt_turn(
                backbone, count, rows, (64, 8), PROMPT_LENGTH
            )
            for count, rows in ((1, 32), (8, 4))
        }
        found[name] = turns.against(turns.take(compared, times), "1x32")
    return found


def many_lanes(repeats: int) -> JsonObject:
    """Compares 64 lanes with 16, on the miniature at the quick start's shapes."""
    miniature = load_backbone("miniature")
    compared = {
        f"{count} lanes": turns.prompt_turn(miniature, count, 16, (32, 2), 16)
        for count in (16, 64)
    }
    return turns.against(turns.take(compared, repeats), "16 lanes")


def buckets(repeats: int) -> JsonObject:
    """Compares pooled rows with lanes mapped in one program, all rows equally long."""
    found = {}
    for name, backbone, shape in (
        ("t5_small", models.random_backbone(models.T5_SMALL), (1, 16, (64, 8), 100)),
        ("miniature", load_backbone("miniature"), (36, 16, (32, 2), 16)),
    ):
        compared = {
            "pooled": turns.prompt_turn(backbone, *shape),
            "unpooled": turns.unpooled_turn(backbone, *shape),
        }
        found[name] = turns.against(turns.take(compared, repeats), "unpooled")
    return found


def loops(repeats: int) -> JsonObject:
    """Compares layers as a loop with layers written out: steps, and compiling them."""
    smollm2 = dataclasses.replace(models.SMOLLM2_135M, num_hidden_layers=8)
    found: JsonObject = {}
    for name, config in (("t5_small", models.T5_SMALL), ("smollm2, 8 layers", smollm2)):
        backbone = models.random_backbone(config)
        compared = {
            "loop": turns.prompt_turn(backbone, 1, 16, (64, 8), PROMPT_LENGTH),
            "written out": _written_out(backbone),
        }
        found[name] = turns.against(turns.take(compared, repeats), "written out")
    found["seconds to trace and compile"] = {
        f"{count} layers": _compiling(models.t5(512, 8, 2048, count))
        for count in (2, 12)
    }
    return found


def _written_out(backbone: Backbone) -> turns.Turn:
    """Makes a step whose layers are written out, however many there are."""
    with _unrolled(100):
        turn = turns.prompt_turn(backbone, 1, 16, (64, 8), PROMPT_LENGTH)
        turn()  # compiles it
    return turn


def _compiling(config: T5Config) -> JsonObject:
    """Times both forms of a T5's loss and gradient, [trace, compile]."""
    backbone = models.random_backbone(config)
    tokens = turns.random_tokens(backbone, (8,), (64, 8))
    p_init = turns.start(backbone, PROMPT_LENGTH)

    def loss(prompt, params, inputs, targets):
        logits = backbone.logits(params, prompt, inputs, targets, None)
        return backbones.token_loss(logits, targets)

    found: JsonObject = {}
    for name, unrolled in (("loop", 0), ("written out", 100)):
        with _unrolled(unrolled):
            # A function of its own: JAX would find the trace of the other form.
            grad = jax.jit(jax.value_and_grad(functools.partial(loss)))
            began = time.perf_counter()
            lowered = grad.lower(p_init, backbone.params, *tokens)
            traced = time.perf_counter()
            lowered.compile()
            seconds = traced - began, time.perf_counter() - traced
        found[name] = [round(s, 2) for s in seconds]
    return found


@contextlib.contextmanager
def _unrolled(most: int) -> Iterator[None]:
    """Writes out stacks of at most so many layers."""
    kept, layers.UNROLLED = layers.UNROLLED, most
    try:
        yield
    finally:
        layers.UNROLLED = kept


THEMES: dict[str, Callable[[int], JsonObject]] = {
    "methods": methods,
    "lanes": lanes,
    "many_lanes": many_lanes,
    "buckets": buckets,
    "loops": loops,
}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three repeats each")
    parser.add_argument("--only", choices=list(THEMES))
    flags = parser.parse_args()
    host_settings.apply(sys.argv)
    found: JsonObject = {"versions": sides.versions("jax", "jaxlib")}
    for name in [flags.only] if flags.only else list(THEMES):
        found[name] = THEMES[name](QUICK if flags.quick else LONG)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
