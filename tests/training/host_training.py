"""Trains a few lanes on a network that compiles in no time.

python host_training.py FOLDER ADDRESS COUNT NUMBER

It is one of COUNT processes, and writes what it has found to FOLDER/found-NUMBER.npz.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import fake_table
import jax
import jax.numpy as jnp
import numpy as np
import tiny_t5

from dtvg_jax import methods
from dtvg_jax.errors import InputError
from dtvg_jax.inference import split_decoding
from dtvg_jax.methods.row_prompts import Prompts
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.training import (
    checkpoints,
    hosts,
    lanes,
    loop,
    metrics_log,
    placement,
    programs,
    stages,
)
from dtvg_jax.training.placement import Placement
from dtvg_jax.training.runs import Lane, Run

CONFIG = tiny_t5.CONFIG
STAGE = stages.Stage(
    steps=6,
    learning_rate=0.1,
    warmup=0,
    batch_size=4,
    validate_every=3,
    log_every=2,
    optimiser="adamw_stage2",
)
METHOD = methods.by_name("prompt_tuning")
LANES = [
    Lane(Run(1, task, "prompt_tuning", seed), 6, 0, METHOD.rates(STAGE.learning_rate))
    for seed in (0, 1)
    for task in "ab"
]


class Vocabulary(fake_table.ByteVocabulary):
    """Spells ids as numbers: those that are no bytes, too."""

    def decode(self, ids):
        return [" ".join(str(i) for i in row if i >= 0) for row in ids]


def _scores(params, prompt, inputs, key=None):
    """Scores tokens by the mean of the prompt and of the inputs' embeddings."""
    table = params["table"]
    seen = prompt.mean(axis=-2) + table[inputs].mean(axis=1)
    if key is not None:
        seen = jnp.where(jax.random.bernoulli(key, 0.9, seen.shape), seen, 0)
    return jnp.tanh(seen) @ table.T


def _logits(params, prompt, inputs, targets, key=None):
    scores = _scores(params, prompt, inputs, key)
    return jnp.repeat(scores[:, None], targets.shape[1], axis=1)


@jax.jit
def _answers(params, prompt, inputs):
    return _scores(params, prompt, inputs).argmax(axis=-1, keepdims=True)


def network(place: Placement) -> Backbone:
    table = np.random.default_rng(1).normal(size=(64, 16)).astype(np.float32)
    params = place.put_whole({"table": table})
    made = backbones.build("linear", CONFIG, params, Vocabulary(), "", place.mesh)
    return made._replace(
        prefix=lambda params, prompt: prompt,
        take=lambda prefix, rows: prefix[rows],
        logits_after=_logits,
    )


def starts() -> lanes.LaneContexts:
    prompts = np.random.default_rng(0).normal(size=(len(LANES), 5, 16))
    return lanes.LaneContexts(
        p_init=jnp.asarray(prompts, jnp.float32),
        sources=jnp.zeros((len(LANES), 0, 5, 16)),
        start=jnp.asarray(prompts, jnp.float32),
        available=jnp.zeros((len(LANES), 0), bool),
        seed=jnp.asarray([lane.run.seed for lane in LANES], jnp.uint32),
    )


def train(folder: pathlib.Path, tables_folder: pathlib.Path) -> loop.Trained:
    tables = {
        task: fake_table.make(
            tables_folder / task, fake_table.rows(10), lengths=(6, 2), task=task
        )
        for task in "ab"
    }
    place = placement.make()
    backbone = network(place)
    setup = split_decoding.Setup(backbone, place, 4)

    def decode(params, prompt, inputs, length):
        return _answers(params, prompt, inputs)

    def validate(prompts: Prompts, due: Sequence[int]) -> loop.Scores:
        """Adds up the ids of the answers: a number that depends on all of them."""
        pairs = [split_decoding.Pair(k, tables["a"]) for k in due]
        texts = split_decoding.predict(decode, setup, prompts, pairs)
        return [{"mean": float(sum(map(int, text)))} for text in texts]

    training = programs.Training(
        name="stage1",
        method=METHOD,
        stage=STAGE,
        lanes=LANES,
        context=starts(),
        tables=[tables[lane.run.task] for lane in LANES],
        sources=(),
    )
    with metrics_log.opened(folder) as log:
        return loop.train(
            training=training,
            backbone=backbone,
            validate=validate,
            folder=folder / "checkpoints",
            log=log,
            placement=place,
            check=lambda: None,
        )


def refusal(number: int) -> str:
    """What a process says where they differ in a rate."""
    hosts.check_alike({"steps": 6, "rates": (0.1, 0.2)})  # alike: nothing
    try:
        hosts.check_alike({"steps": 6, "stage": {"rate": [0.1, 0.2][number]}})
    except InputError as error:
        return str(error)
    return ""


def taken_where_one_finds_damage(folder: pathlib.Path, number: int) -> int:
    """Saves two steps, the second of which process 1 alone cannot read."""
    made = placement.make().put_whole({"x": np.arange(3.0)})
    read = checkpoints._read

    def damaged(folder, step, *others):
        if (number, step) == (1, 2):
            raise ValueError("DATA_LOSS: a chunk is damaged")
        return read(folder, step, *others)

    with checkpoints.manager(folder) as manager:
        for step in (1, 2):
            checkpoints.save(manager, step, made, {"step": step})
        checkpoints._read = damaged
        found = checkpoints.restore(manager, made, Progress)
    assert found is not None and not (folder / "2").exists()
    return found[1].step


@dataclasses.dataclass
class Progress:
    step: int


if __name__ == "__main__":
    folder, (address, count, number) = pathlib.Path(sys.argv[1]), sys.argv[2:]
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    jax.distributed.initialize(address, int(count), int(number))
    trained = train(folder, folder / f"tables-{number}")
    np.savez(
        folder / f"found-{number}.npz",
        scores=[one["mean"] for one in trained.scores],
        agreed=hosts.agree({"from": int(number), "é": [1.5, None]})["from"],
        prompt=np.asarray(trained.best.prompt),
        refusal=refusal(int(number)),
        taken=taken_where_one_finds_damage(folder / "damaged", int(number)),
    )
