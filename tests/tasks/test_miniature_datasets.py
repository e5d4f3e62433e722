"""The miniature on disk: real builders read it, and a folder is never half written."""

import json
import subprocess
import sys

import pytest

from tasks.miniature import catalogue, datasets


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Writes the miniature by its command into a folder whose parents are not there."""
    out = tmp_path_factory.mktemp("data") / "deep" / "miniature"
    command = [sys.executable, "-m", "tasks.miniature", f"--out={out}"]
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    return out, command


def test_the_real_builders_read_what_was_written(written):
    import tensorflow_datasets as tfds

    out, _ = written
    for name in catalogue.DATASETS:
        builder = tfds.builder(name, data_dir=str(out), try_gcs=False)
        counts = {s: i.num_examples for s, i in builder.info.splits.items()}
        wanted = catalogue.all_rows(name, 0)
        assert counts == {split: len(drawn) for split, drawn in wanted.items()}
    builder = tfds.builder("super_glue/cb:1.0.2", data_dir=str(out), try_gcs=False)
    assert builder.info.features["label"].names[:2] == ["entailment", "contradiction"]
    drawn = {i: row for i, row in catalogue.all_rows("super_glue/cb:1.0.2", 0)["train"]}
    stored = list(tfds.as_numpy(builder.as_dataset(split="train")))
    assert len(stored) == len(drawn)
    for row in stored:
        wanted = drawn[int(row["idx"])]
        assert row["premise"].decode() == wanted["premise"]
        assert row["label"] == wanted["label"]


def test_every_split_that_a_task_reads_is_there_and_has_its_hard_rows(written):
    """What the catalogue's tasks make of it; counts follow from the generator."""
    import tasks.all  # noqa: F401 registers the tasks
    from tasks import splits
    from tasks.task_info import KNOWN

    out, _ = written
    found = {
        name: [splits.count(info, split, str(out)) for split in splits.SPLITS]
        for name, info in KNOWN.items()
    }
    assert found["mnli"] == [4003, 1003, 1003]
    assert found["squad"] == [3003, 1000, 1003]
    assert found["superglue-cb"] == [130, 1001, 1001]  # hidden labels are in neither
    assert found["yelp_polarity"] == [131, 1000, 1003]
    assert found["paws"] == [129, 1001, 1001]
    assert found["superglue-multirc"] == [258, 1001, 1001]
    assert sum(found["superglue-multirc-by-paragraph"]) == 258 + 2002
    assert sum(found["common_gen"]) == 1257 + 1000 and found["common_gen"][2] == 1000
    assert all(rows > 60 for counts in found.values() for rows in counts)


def test_a_second_run_returns_at_once_and_other_content_is_refused(written, tmp_path):
    out, command = written
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0 and again.stdout.strip() == f"{out}: complete"
    other = subprocess.run([*command, "--seed=1"], capture_output=True, text=True)
    assert other.returncode == 2 and "seed 0" in other.stderr
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="give a new or an empty folder"):
        datasets.write(tmp_path)
    with pytest.raises(ValueError, match="has no glue/ax:2.0.0"):
        datasets.write(out, builders=["glue/ax:2.0.0"])


def test_a_failed_run_leaves_nothing_behind_and_others_go_on(tmp_path, monkeypatch):
    """Only what is missing is written, and what a killed run left is removed."""
    out, (first, second) = tmp_path / "data", ("glue/rte:2.0.0", "glue/cola:2.0.0")
    left = out / "glue/rte/incomplete.ABC123_2.0.0"

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(datasets, "prepare", fail)
    with pytest.raises(OSError, match="disk full"):
        datasets.write(out, builders=[first])
    left.mkdir(parents=True)
    monkeypatch.setattr(
        datasets, "prepare", lambda name, *_: datasets._folder(out, name).mkdir()
    )
    assert datasets.write(out, builders=[first]) == [first]
    assert not left.exists()
    (out / "glue/cola").mkdir()
    assert datasets.write(out, builders=[first, second]) == [second]
    assert datasets.write(out, builders=[first, second]) == []
    assert json.loads((out / datasets.MARKER).read_text())["seed"] == 0
