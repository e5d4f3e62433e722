"""Times training steps against each other: full fine-tuning, prompts, DTVG, lanes.

    python benchmarks/step.py [--quick] [--only=methods|lanes]

Prints JSON: seconds per step (least and median over repeats) and their ratios.
Compared steps alternate in one process, so that drift of the machine affects all of
them; a ratio is the median over rounds of the ratio within a round. Weights are random,
dropout is off. Takes about five minutes on two cores, one with --quick.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dtvg_jax.formats.load import load_backbone
from dtvg_jax.methods import METHODS, initial_prompt
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models.t5 import T5Config
from dtvg_jax.training import lanes, optimisers

PROMPT_LENGTH = 100
T5_SMALL = T5Config(
    vocab_size=32128,
    d_model=512,
    d_kv=64,
    num_heads=8,
    d_ff=2048,
    num_layers=6,
    num_decoder_layers=6,
    activations=("relu",),
    tied_head=True,
    scale_outputs=True,
)
Turn = Callable[[], Any]


def random_batch(
    vocabulary: int, count: int, rows: int, lengths: tuple[int, int]
) -> lanes.Batch:
    """Draws rows without padding: inputs [K, B, T] and targets [K, B, L]."""
    random = np.random.default_rng(0)
    return {
        name: jnp.asarray(random.integers(3, vocabulary, (count, rows, length)))
        for name, length in zip(("inputs", "targets"), lengths, strict=True)
    }


def prompt_turn(
    backbone: backbones.Backbone,
    method: str,
    sources: int,
    count: int,
    rows: int,
    lengths: tuple[int, int],
) -> Turn:
    """Makes a training step of `count` lanes that keeps its own state."""
    optimiser = optimisers.by_name("adamw_stage2" if sources else "adamw_stage1")
    embedding = backbone.embedding(backbone.params)
    start = initial_prompt.p_init(embedding, PROMPT_LENGTH, 0)
    noise = np.random.default_rng(0).normal(0, 0.1, (1, sources, *start.shape))
    context = lanes.LaneContexts(
        p_init=jnp.asarray(start[None]),
        sources=jnp.asarray(noise, jnp.float32),
        start=jnp.tile(start + 0.1, (count, 1, 1)),
        available=jnp.ones((count, sources), bool),
    )
    state = lanes.init(METHODS[method], optimiser, context)
    rates = optimisers.Rates(
        peak={name: jnp.full(count, 1e-3) for name in state.trainables},
        warmup=jnp.zeros(count, jnp.int32),
        steps=jnp.full(count, 1000),
    )
    fixed = lanes.Fixed(context, rates, jax.random.split(jax.random.key(0), count))
    batch = random_batch(embedding.shape[0], count, rows, lengths)
    step = jax.jit(
        lanes.make_step(backbone, METHODS[method], optimiser, dropout=False),
        donate_argnums=0,
    )
    carried = [state]

    def turn() -> Any:
        carried[0], metrics = step(carried[0], backbone.params, fixed, batch)
        return metrics["loss"]

    return turn


def full_turn(
    backbone: backbones.Backbone, rows: int, lengths: tuple[int, int]
) -> Turn:
    """Makes an AdamW step on all weights, with P_init in front for equal lengths."""
    embedding = backbone.embedding(backbone.params)
    start = jnp.asarray(initial_prompt.p_init(embedding, PROMPT_LENGTH, 0))
    batch = random_batch(embedding.shape[0], 1, rows, lengths)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-4))

    def loss(params, inputs, targets):
        logits = backbone.logits(params, start, inputs, targets, None)
        return backbones.token_loss(logits, targets)

    def step_fn(params, state, batch):
        value, grads = jax.value_and_grad(loss)(
            params, batch["inputs"][0], batch["targets"][0]
        )
        updates, state = optimiser.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    step = jax.jit(step_fn, donate_argnums=(0, 1))
    params = jax.tree.map(jnp.copy, backbone.params)
    carried = [params, optimiser.init(params)]

    def turn() -> Any:
        carried[0], carried[1], value = step(*carried, batch)
        return value

    return turn


def take_turns(turns: dict[str, Turn], repeats: int) -> dict[str, list[float]]:
    """Runs every step once to compile and once to warm up, then alternates."""
    for name, turn in turns.items():
        start = time.perf_counter()
        jax.block_until_ready(turn())
        jax.block_until_ready(turn())
        print(f"{name}: ready in {time.perf_counter() - start:.1f} s", file=sys.stderr)
    times: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(repeats):
        order = list(turns) if number % 2 else list(turns)[::-1]
        for name in order:
            start = time.perf_counter()
            jax.block_until_ready(turns[name]())
            times[name].append(time.perf_counter() - start)
    return times


def summary(times: dict[str, list[float]], base: str) -> dict[str, Any]:
    """Returns seconds per step, and the ratio of every other step to `base`."""
    return {
        "seconds": {
            name: {
                "min": round(min(values), 4),
                "median": round(statistics.median(values), 4),
            }
            for name, values in times.items()
        },
        "ratios": {
            f"{name} / {base}": {
                "of_min": round(min(values) / min(times[base]), 4),
                "median": round(
                    statistics.median(
                        a / b for a, b in zip(values, times[base], strict=True)
                    ),
                    4,
                ),
            }
            for name, values in times.items()
            if name != base
        },
    }


def methods(backbone: backbones.Backbone, repeats: int) -> dict[str, Any]:
    """Compares full fine-tuning, prompt tuning and DTVG, one lane of 8 rows each."""
    shape = {"count": 1, "rows": 8, "lengths": (64, 8)}
    turns = {
        "full": full_turn(backbone, shape["rows"], shape["lengths"]),
        "prompt": prompt_turn(backbone, "prompt_tuning", 0, **shape),
    }
    for sources in (6, 26, 100):
        turns[f"dtvg_{sources}"] = prompt_turn(backbone, "dtvg", sources, **shape)
    times = take_turns(turns, repeats)
    results = summary(times, "prompt")
    full = summary({name: times[name] for name in ("full", "prompt")}, "full")
    results["ratios"] |= full["ratios"]
    return shape | results


def many_lanes(backbone: backbones.Backbone, repeats: int) -> dict[str, Any]:
    """Compares 8 lanes of 4 rows with one lane of 32."""
    lengths = (64, 8)
    turns = {
        f"{count}x{rows}": prompt_turn(
            backbone, "prompt_tuning", 0, count, rows, lengths
        )
        for count, rows in ((1, 32), (8, 4))
    }
    return {"lengths": lengths} | summary(take_turns(turns, repeats), "1x32")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three repeats each")
    parser.add_argument("--only", choices=("methods", "lanes"))
    flags = parser.parse_args()
    params = backbones.init_params(T5_SMALL, jax.random.key(0))
    small = backbones.build("t5-small", T5_SMALL, params, None, "")
    results: dict[str, Any] = {
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "prompt_length": PROMPT_LENGTH,
    }
    repeats = 3 if flags.quick else 15
    if flags.only != "lanes":
        results["t5_small"] = methods(small, repeats)
    if flags.only != "methods":
        results["t5_small_lanes"] = many_lanes(small, max(3, repeats // 2))
        miniature = load_backbone("miniature")
        results["miniature_lanes"] = many_lanes(miniature, 4 * repeats)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
