"""Where data come from: nothing is fetched unless it is asked for."""

import os
import pathlib

import pytest

from dtvg_jax.data import prepared
from dtvg_jax.errors import InputError

RTE, COLA = "glue/rte:2.0.0", "glue/cola:2.0.0"


@pytest.fixture
def fetched(monkeypatch):
    """Stands in for the network: notes what would be fetched, and fails on cola."""
    import tensorflow_datasets as tfds

    names = []

    class Builder:
        def __init__(self, name):
            self.name = name

        def download_and_prepare(self):
            names.append(self.name)
            if self.name == COLA:
                raise ConnectionError("no route")

    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: Builder(name))
    return names


def test_only_what_is_missing_is_fetched_and_only_if_asked(tmp_path, fetched):
    there = tmp_path / "glue/sst2/2.0.0"
    there.mkdir(parents=True)
    (there / "dataset_info.json").write_text("{}")
    builders = ["glue/sst2:2.0.0", RTE]
    assert prepared.folder(str(tmp_path), tmp_path, builders) == tmp_path
    assert fetched == []
    assert prepared.folder(str(tmp_path), tmp_path, builders, download=True) == tmp_path
    assert fetched == [RTE]


def test_what_cannot_be_fetched_is_a_sentence(tmp_path, fetched):
    with pytest.raises(InputError, match="glue/cola:2.0.0 cannot be fetched: no route"):
        prepared.folder(str(tmp_path), tmp_path, [RTE, COLA], download=True)
    assert fetched == [RTE, COLA]


@pytest.mark.parametrize(
    "info, sentence",
    [
        ("{}", None),
        ('{"fileFormat": "tfrecord", "splits": [{"name": "train"}]}', None),
        ('{"fileFormat": "array_record"}', "rte/2.0.0 is in the format array_record"),
        ("[1]", "dataset_info.json holds no JSON object: prepare the data set again"),
        ('{"splits": 3}', "dataset_info.json: splits = 3: it must be a list"),
        ('{"splits": ["train"]}', r"dataset_info.json: splits = \('train',\)"),
        ("[" * 100_000, "dataset_info.json is not JSON .*: prepare the data set again"),
        (None, "dataset_info.json is a pipe, socket or device"),
    ],
)
def test_a_record_of_a_data_set_is_checked(tmp_path, info, sentence):
    path = tmp_path / "glue/rte/2.0.0/dataset_info.json"
    path.parent.mkdir(parents=True)
    path.write_text(info) if info is not None else os.mkfifo(path)
    if sentence is None:
        assert prepared.dataset(RTE, tmp_path) == path.parent
        return
    with pytest.raises(InputError, match=sentence):
        prepared.dataset(RTE, tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere' is not a folder"):
        prepared.folder(str(tmp_path / "nowhere"), tmp_path, [RTE])


def test_the_miniature_gets_what_a_job_reads_and_no_more(tmp_path):
    folder = prepared.folder("miniature", tmp_path, ["super_glue/cb:1.0.2"])
    written = sorted(p.parent.name for p in folder.rglob("dataset_info.json"))
    assert written == ["1.0.2"] and (folder / "super_glue/cb").is_dir()


def test_the_folder_of_generated_data_is_named_as_documented(tmp_path):
    text = (pathlib.Path(__file__).parents[2] / "docs" / "running.md").read_text()
    name = prepared.folder("miniature", tmp_path, []).name
    assert f"`{name.partition('-')[0]}-<version>/`" in text and name.partition("-")[2]
