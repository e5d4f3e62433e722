"""docs/t5x_seqio.md, executed: our tasks in programs that know SeqIO only."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "t5x_seqio.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
DATA, VOCABULARY, *_ = BLOCKS
CB = "super_glue/cb:1.0.2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the document's commands are run: data/ with CB, and a vocabulary."""
    from tasks.miniature import datasets, vocabulary

    made = tmp_path_factory.mktemp("t5x")
    datasets.write(made / "data", builders=[CB])
    (made / "spiece.model").write_bytes(vocabulary.vocabulary_model())
    return made


def run(folder: pathlib.Path, code: str) -> list[str]:
    """Runs a program in a folder, in a process of its own; gives its lines."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


READ = """
lengths = {"inputs": 64, "targets": 8}
dataset = task.get_dataset(lengths, "validation", shuffle=False)
row = next(dataset.as_numpy_iterator())
for name in lengths:
    text = row[f"{name}_pretokenized"].decode()
    assert row[name].tolist() == [*vocabulary.encode(text), 1], name
"""


def test_a_row_is_read_from_the_data_folder_and_in_the_vocabulary_of_t5(folder):
    inputs, target, names = run(folder, DATA + VOCABULARY + READ)
    assert inputs.startswith("cb hypothesis: ") and " premise: " in inputs
    assert target in ("entailment", "contradiction", "neutral")
    tasks = ("mnli", "qnli", "qqp", "squad", "sst2", "superglue_record")
    assert names == str([f"t5_sources.dtvg_{name}_words" for name in tasks])


# What seqio_cache_tasks does with a task, but that Beam would run it: what stands
# before the placeholder is run and written, with the features' shapes beside it.
CACHE = """
import json, pathlib
import numpy as np
import seqio
import tensorflow as tf
import dtvg_jax.data.seqio_tasks

seqio.set_tfds_data_dir_override("data")
task = seqio.get_mixture_or_task("dtvg_superglue_cb")
made = pathlib.Path("cached", task.name)
made.mkdir(parents=True)
for split in task.splits:
    rows = task.source.get_dataset(split, shuffle=False)
    rows = list(task.preprocess_precache(rows).as_numpy_iterator())
    values = {key: tf.constant(value) for key, value in rows[0].items()}
    features = {
        key: {"shape": [None] * value.shape.rank, "dtype": value.dtype.name}
        for key, value in values.items()
    }
    with tf.io.TFRecordWriter(f"{made}/{split}.tfrecord-00000-of-00001") as file:
        for row in rows:
            file.write(seqio.dict_to_tfexample(row).SerializeToString())
    info = {"num_shards": 1, "features": features}
    (made / f"info.{split}.json").write_text(json.dumps(info))
    (made / f"stats.{split}.json").write_text(json.dumps({"examples": len(rows)}))
(made / "COMPLETED").touch()

seqio.add_global_cache_dirs(["cached"])
for lengths in ({"inputs": 512, "targets": 16}, {"inputs": 20, "targets": 2}):
    fresh, cached = (
        list(
            task.get_dataset(
                lengths, "test", shuffle=False, use_cached=use_cached
            ).as_numpy_iterator()
        )
        for use_cached in (False, True)
    )
    for one, other in zip(fresh, cached, strict=True):
        np.testing.assert_equal(one, other)
    assert all(row["inputs"][-1] == 1 for row in cached)
    print(len(cached), max(len(row["inputs"]) for row in cached))
"""


def test_a_cache_gives_the_rows_that_are_read_without_it(folder):
    whole, short = (line.split() for line in run(folder, CACHE))
    assert whole[0] == short[0] != "0"
    assert int(whole[1]) > int(short[1]) == 20


def test_the_names_for_gin_and_the_command_line_are_those_of_files():
    names = re.findall(r"dtvg_jax\.data\.\w+", TEXT)
    assert set(names) == {"dtvg_jax.data.seqio_tasks"}
    assert (ROOT / "dtvg_jax" / "data" / "seqio_tasks.py").is_file()
