"""Trains and decodes tiny backbones on meshes of eight devices, and on one.

Prints JSON: for each backbone and mesh the prompts of its lanes and answers of theirs.
A process of its own, since the number of devices is that of a process.
"""

import itertools
import json
import os
import pathlib
import sys
import tempfile

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import fake_table
import jax
import numpy as np

from dtvg_jax import methods
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.inference import split_decoding
from dtvg_jax.inference.split_decoding import Pair, Setup
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models.llama import LlamaConfig
from dtvg_jax.models.t5_config import T5Config
from dtvg_jax.training import lanes, loop, metrics_log, placement, programs, stages
from dtvg_jax.training.placement import Mesh
from dtvg_jax.training.runs import Lane, Run

# More layers than are unrolled, so that a layer is gathered in the body of a loop.
CONFIGS: dict[str, backbones.Config] = {
    "t5": T5Config(
        vocab_size=258,
        d_model=16,
        d_kv=4,
        num_heads=4,
        d_ff=32,
        num_layers=5,
        num_decoder_layers=5,
    ),
    # A single head of keys and values, which lies whole on a mesh of tensor = 4.
    "llama": LlamaConfig(
        vocab_size=258,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=4,
    ),
}
MESHES = {
    "one device": Mesh(),
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
    optimiser="adamw_stage2",
)
RATES = methods.by_name("dtvg").rates(STAGE.learning_rate)
LANES = [
    Lane(Run(2, task, "dtvg", seed), 6, 0, RATES) for seed in (0, 1) for task in "abcd"
]
ROWS = dict(zip("abcd", (3, 10, 29, 7), strict=True))  # of each task


def context() -> lanes.LaneContexts:
    random = np.random.default_rng(0)
    shapes = (2, 5, 16), (2, 3, 5, 16), (8, 5, 16)
    p_init, sources, start = (random.normal(size=s).astype(np.float32) for s in shapes)
    seeds = np.arange(2, dtype=np.uint32)
    return lanes.LaneContexts(p_init, sources, start, np.ones((8, 3), bool), seeds)


def measure(
    config: backbones.Config, mesh: Mesh, devices: int, tables: dict[str, TokenTable]
) -> dict[str, list]:
    """Trains all lanes, and answers the rows of each task with its lane's prompt."""
    place = placement.make(mesh, jax.devices()[:devices])
    where = backbones.shardings(config, place.mesh)
    drawn = jax.device_put(backbones.init_params(config, jax.random.key(1)), where)
    vocabulary = fake_table.ByteVocabulary()
    backbone = backbones.build("tiny", config, drawn, vocabulary, "", place.mesh)
    training = programs.Training(
        name="stage2-dtvg",
        method=methods.by_name("dtvg"),
        stage=STAGE,
        lanes=LANES,
        context=context(),
        tables=[tables[lane.run.task] for lane in LANES],
        sources=("x", "y", "z"),
    )
    calls = itertools.count()

    def validate(_, due) -> loop.Scores:
        better = float(next(calls))  # so that the last step is the best
        return [{"mean": better} for _ in due]

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with metrics_log.MetricsLog(folder) as log:
            trained = loop.train(
                training, backbone, validate, folder / "checkpoints", log, place,
                check=lambda: None,
            )  # fmt: skip
    pairs = [Pair(k, tables[lane.run.task]) for k, lane in enumerate(LANES)]
    setup = Setup(backbone, place, batch_size=5)
    decode = split_decoding.make_decode(backbone)
    answers = split_decoding.predict(decode, setup, trained.prompts, pairs)
    held = [
        sum(part.data.nbytes for leaf in leaves for part in leaf.addressable_shards
            if part.device == device)
        for leaves in [jax.tree.leaves(drawn)] for device in place.mesh.devices.flat
    ]  # fmt: skip
    prompts = trained.best.prompt.tolist()
    return {"prompts": prompts, "answers": answers, "bytes": held}


def main() -> None:
    """Measures the backbones that are named."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        tables = {
            task: fake_table.make(
                pathlib.Path(folder) / task, fake_table.rows(count), lengths=(6, 2),
                task=task,
            )
            for task, count in ROWS.items()
        }  # fmt: skip
        for name in sys.argv[1:]:
            for mesh, made in MESHES.items():
                devices = 1 if mesh == "one device" else 8
                measured = measure(CONFIGS[name], made, devices, tables)
                found.setdefault(name, {})[mesh] = measured
    print(json.dumps(found))


if __name__ == "__main__":
    main()
