"""Trains and decodes tiny backbones on meshes of eight devices, and on one.

Prints JSON: for each mesh the prompts of the lanes, their answers, and the bytes of
parameters on each device; and the prompts of lanes that changed the mesh on the way.
A process of its own, since the number of devices is that of a process.
"""

import contextlib
import itertools
import json
import os
import pathlib
import sys
import tempfile

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import fake_table
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dtvg_jax import methods
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.errors import Stopped
from dtvg_jax.inference import split_decoding
from dtvg_jax.inference.split_decoding import Pair, Setup
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models.llama import LlamaConfig
from dtvg_jax.models.t5_config import T5Config
from dtvg_jax.training import (
    lanes,
    loop,
    metrics_log,
    optimisers,
    placement,
    programs,
    stages,
)
from dtvg_jax.training.placement import Mesh, Placement
from dtvg_jax.training.runs import Lane, Run

# More layers than are unrolled, so that a layer is gathered in the body of a loop.
CONFIGS: dict[str, backbones.Config] = {
    "t5": T5Config(
        vocab_size=260,
        d_model=16,
        d_kv=4,
        num_heads=4,
        d_ff=32,
        num_layers=5,
        num_decoder_layers=5,
    ),
    # A single head of keys and values, which lies whole on a mesh of tensor = 4.
    "llama": LlamaConfig(
        vocab_size=260,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=4,
    ),
}
ONE = "one device"
MESHES = {
    ONE: Mesh(),
    "8x1x1": Mesh(lanes=8),
    "2x4x1": Mesh(lanes=2, rows=4),
    "2x2x2": Mesh(lanes=2, rows=2, fsdp=2),
    "tensor 4": Mesh(tensor=4),
}
STAGE = stages.Stage(
    steps=6,
    learning_rate=0.1,
    warmup=0,
    batch_size=3,
    validate_every=3,
    dropout=False,  # its draws are those of a microbatch's shape
    optimiser="adamw_stage2",
)
RATES = methods.by_name("dtvg").rates(STAGE.learning_rate)
LANES = [
    Lane(Run(2, task, "dtvg", seed), 6, 0, RATES) for seed in (0, 1) for task in "abcd"
]
# Without it Adam brings a tiny gradient to full size, and its rounding with it, as in
# test_lanes: rows lie on other devices, so that sums are rounded otherwise.
optimisers.OPTIMISERS["adamw_stage2"] = optax.chain(
    optax.clip_by_global_norm(optimisers.CLIP),
    optimisers.scale_by_adam_unscaled_eps(eps=1e-2),
)
# Scores of validations: each is better, so that the last step is the best.
VALIDATIONS = itertools.count()
ROWS = dict(zip("abcd", (3, 10, 29, 7), strict=True))  # of each task


class Vocabulary(fake_table.ByteVocabulary):
    """Spells ids as numbers: random weights answer with any."""

    def decode(self, ids):
        return [" ".join(str(i) for i in row if i >= 0) for row in ids]


def context() -> lanes.LaneContexts:
    random = np.random.default_rng(0)
    shapes = (2, 5, 16), (2, 3, 5, 16), (8, 5, 16)
    p_init, sources, start = (
        jnp.asarray(random.normal(size=s), jnp.float32) for s in shapes
    )
    seeds = jnp.arange(2, dtype=jnp.uint32)
    return lanes.LaneContexts(p_init, sources, start, jnp.ones((8, 3), bool), seeds)


def backbone_on(config: backbones.Config, place: Placement) -> backbones.Backbone:
    where = backbones.shardings(config, place.mesh)
    drawn = jax.device_put(backbones.init_params(config, jax.random.key(1)), where)
    return backbones.build("tiny", config, drawn, Vocabulary(), "", place.mesh)


def train(
    backbone: backbones.Backbone,
    place: Placement,
    tables: dict[str, TokenTable],
    folder: pathlib.Path,
    steps: int | None = None,
) -> loop.Trained:
    """Trains all lanes; with `steps` it is stopped after so many."""
    training = programs.Training(
        name="stage2-dtvg",
        method=methods.by_name("dtvg"),
        stage=STAGE,
        lanes=LANES,
        context=context(),
        tables=[tables[lane.run.task] for lane in LANES],
        sources=("x", "y", "z"),
    )
    checks = itertools.count()

    def validate(_, due) -> loop.Scores:
        better = float(next(VALIDATIONS))
        return [{"mean": better} for _ in due]

    def check() -> None:
        if next(checks) == steps:
            raise Stopped

    checkpoints = folder / "checkpoints"
    with metrics_log.MetricsLog(folder) as log:
        return loop.train(training, backbone, validate, checkpoints, log, place, check)


def measure(
    config: backbones.Config, place: Placement, tables: dict[str, TokenTable]
) -> dict[str, list]:
    """Trains all lanes, and answers the rows of each task with its lane's prompt."""
    backbone = backbone_on(config, place)
    with tempfile.TemporaryDirectory() as folder:
        trained = train(backbone, place, tables, pathlib.Path(folder))
    pairs = [Pair(k, tables[lane.run.task]) for k, lane in enumerate(LANES)]
    setup = Setup(backbone, place, batch_size=5)
    decode = split_decoding.make_decode(backbone)
    leaves = jax.tree.leaves(backbone.params)
    parts = [part for leaf in leaves for part in leaf.addressable_shards]
    return {
        "prompts": trained.best.prompt.tolist(),
        "answers": split_decoding.predict(decode, setup, trained.prompts, pairs),
        "bytes": [
            sum(part.data.nbytes for part in parts if part.device == device)
            for device in place.mesh.devices.flat
        ],
    }


def resume(
    config: backbones.Config,
    first: Placement,
    then: Placement,
    tables: dict[str, TokenTable],
) -> list:
    """Trains four steps on one mesh and the rest on another; gives the prompts."""
    with tempfile.TemporaryDirectory() as folder:
        given = tables, pathlib.Path(folder)
        with contextlib.suppress(Stopped):
            train(backbone_on(config, first), first, *given, steps=4)
        return train(backbone_on(config, then), then, *given).best.prompt.tolist()


def main() -> None:
    """Measures the backbone that is named."""
    config = CONFIGS[sys.argv[1]]
    places = {
        name: placement.make(mesh, jax.devices()[: 1 if name == ONE else 8])
        for name, mesh in MESHES.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        tables = {
            task: fake_table.make(
                pathlib.Path(folder) / task,
                fake_table.rows(count),
                lengths=(6, 2),
                task=task,
            )
            for task, count in ROWS.items()
        }
        found = {n: measure(config, place, tables) for n, place in places.items()}
        resumed = resume(config, places["2x2x2"], places[ONE], tables)
    print(json.dumps({"measured": found, "resumed": resumed}))


if __name__ == "__main__":
    main()
