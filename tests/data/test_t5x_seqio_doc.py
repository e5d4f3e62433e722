"""docs/t5x_seqio.md, executed: our tasks in programs that know SeqIO only."""

import json
import pathlib
import re

import numpy as np
import pytest
import seqio
import tensorflow as tf

from dtvg_jax.data import seqio_tasks  # noqa: F401 registers the tasks
from tasks.miniature import datasets, vocabulary

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "t5x_seqio.md").read_text()
DATA, VOCABULARY, *_ = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
LENGTHS = {"inputs": 64, "targets": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the document's commands are run: data/ with CB, and a vocabulary."""
    made = tmp_path_factory.mktemp("t5x")
    datasets.write(made / "data", builders=["super_glue/cb:1.0.2"])
    (made / "spiece.model").write_bytes(vocabulary.vocabulary_model())
    return made


@pytest.fixture(autouse=True)
def start(folder, monkeypatch):
    """Starts in that folder, and leaves SeqIO as it was."""
    monkeypatch.chdir(folder)
    for name in seqio.TaskRegistry.names():
        # A task keeps the folder that other tests of this process gave it.
        source = seqio.TaskRegistry.get(name).source
        if isinstance(source, seqio.TfdsDataSource):
            source.tfds_dataset.override_data_dir(None)
    yield
    seqio.set_tfds_data_dir_override(None)
    seqio.set_global_cache_dirs([])


def run(code: str) -> dict:
    names: dict = {}
    exec(compile(code, "docs/t5x_seqio.md", "exec"), names)
    return names


def rows(task: seqio.Task, split: str, lengths: dict[str, int], **how) -> list[dict]:
    dataset = task.get_dataset(lengths, split, shuffle=False, **how)
    return list(dataset.as_numpy_iterator())


def test_a_row_is_read_from_the_data_folder(capsys):
    run(DATA)
    inputs, target = capsys.readouterr().out.splitlines()
    assert inputs.startswith("cb hypothesis: ") and " premise: " in inputs
    assert target in ("entailment", "contradiction", "neutral")


def test_tasks_and_mixtures_get_the_vocabulary_of_t5(capsys):
    names = run(VOCABULARY)
    tasks = ("mnli", "qnli", "qqp", "squad", "sst2", "superglue_record")
    expected = [f"t5_sources.dtvg_{name}_words" for name in tasks]
    assert capsys.readouterr().out == f"{expected}\n"
    seqio.set_tfds_data_dir_override("data")
    row = rows(names["task"], "validation", LENGTHS)[0]
    for name in LENGTHS:
        text = row[f"{name}_pretokenized"].decode()
        assert row[name].tolist() == [*names["vocabulary"].encode(text), 1]


def cache(task: seqio.Task, folder: pathlib.Path) -> None:
    """Does what seqio_cache_tasks does with a task, without Apache Beam.

    What stands before the placeholder is run and written, and beside it the shapes of
    the features and the number of rows.
    """
    folder.mkdir(parents=True)
    for split in task.splits:
        raw = task.source.get_dataset(split, shuffle=False)
        made = list(task.preprocess_precache(raw).as_numpy_iterator())
        values = {name: tf.constant(value) for name, value in made[0].items()}
        features = {
            name: {"shape": [None] * value.shape.rank, "dtype": value.dtype.name}
            for name, value in values.items()
        }
        records = str(folder / f"{split}.tfrecord-00000-of-00001")
        with tf.io.TFRecordWriter(records) as file:
            for row in made:
                file.write(seqio.dict_to_tfexample(row).SerializeToString())
        info = {"num_shards": 1, "features": features}
        (folder / f"info.{split}.json").write_text(json.dumps(info))
        (folder / f"stats.{split}.json").write_text(json.dumps({"examples": len(made)}))
    (folder / "COMPLETED").touch()


@pytest.mark.slow
def test_a_cache_gives_the_rows_that_are_read_without_it(tmp_path):
    seqio.set_tfds_data_dir_override("data")
    task = seqio.TaskRegistry.get("dtvg_superglue_cb")
    cache(task, tmp_path / task.name)
    seqio.add_global_cache_dirs([str(tmp_path)])
    for lengths in ({"inputs": 512, "targets": 16}, {"inputs": 20, "targets": 2}):
        cached = rows(task, "validation", lengths, use_cached=True)
        fresh = rows(task, "validation", lengths)
        for one, other in zip(cached, fresh, strict=True):
            np.testing.assert_equal(one, other)
        assert all(row["inputs"][-1] == 1 for row in cached)
        longest = max(len(row["inputs"]) for row in cached)
        assert longest == lengths["inputs"]


def test_the_module_that_other_programs_are_told_is_there():
    names = re.findall(r"dtvg_jax\.data\.\w+", TEXT)
    assert set(names) == {seqio_tasks.__name__}
