"""Trains the lanes of test_loop.py and validates them by decoding.

python host_training.py FOLDER ADDRESS COUNT NUMBER

It is one of COUNT processes, and writes what it has found to FOLDER/found-NUMBER.npz.
"""

import pathlib
import sys
from collections.abc import Sequence

import fake_table
import jax
import numpy as np

from dtvg_jax.inference import split_decoding
from dtvg_jax.methods.row_prompts import Prompts
from dtvg_jax.training import hosts, loop, placement


class Vocabulary(fake_table.ByteVocabulary):
    """Spells ids as numbers: those that are no bytes, too."""

    def decode(self, ids):
        return [" ".join(str(i) for i in row if i >= 0) for row in ids]


def train(folder: pathlib.Path, tables_folder: pathlib.Path) -> loop.Trained:
    # They make arrays when they are imported: after the processes have met.
    import test_lanes
    import test_loop

    tables = {
        task: fake_table.make(
            tables_folder / task, fake_table.rows(10), lengths=(6, 2), task=task
        )
        for task in "ab"
    }
    backbone = test_lanes.backbone()._replace(vocabulary=Vocabulary())
    decode = split_decoding.make_decode(backbone)
    setup = split_decoding.Setup(backbone, placement.make(), 4)

    def validate(prompts: Prompts, due: Sequence[int]) -> loop.Scores:
        """Adds up the ids of the answers: any number that depends on all of them."""
        pairs = [split_decoding.Pair(k, tables["a"]) for k in due]
        texts = split_decoding.predict(decode, setup, prompts, pairs)
        ids = [[int(word) for word in " ".join(text).split()] for text in texts]
        return [{"mean": float(sum(one) % 101)} for one in ids]

    return test_loop.train(folder, tables, validate=validate)


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
        target_prompt=np.asarray(trained.best.trainables["prompt"]),
        source_scales=np.asarray(trained.best.trainables["source_scales"]),
    )
