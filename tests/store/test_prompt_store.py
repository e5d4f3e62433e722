"""The prompt store: whole entries, checked when read, never overwritten."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.store import entries, prompt_store
from dtvg_jax.store.entries import Fit, Metadata
from dtvg_jax.training.runs import Run

NAME = "mrpc/dtvg-seed1"
ABOUT = Metadata(
    "mrpc", "dtvg", 1, stage=2, backbone="small", backbone_digest="ab", width=4
)


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    prompt = rng.normal(size=(3, 4)).astype(np.float32)
    return {"prompt": prompt, "tpv": prompt - 1, "group": np.array([1, 0], np.uint8)}


@pytest.fixture
def prompts(tmp_path) -> prompt_store.PromptStore:
    made = prompt_store.PromptStore(tmp_path / "store")
    made.write(arrays(), ABOUT)
    return made


def test_what_is_written_is_read(prompts):
    entry = prompts.read(NAME, Fit(width=4, backbone_digest="ab"))
    assert prompts.names() == [NAME]
    for name, value in arrays().items():
        np.testing.assert_array_equal(entry.arrays[name], value)
        assert entry.arrays[name].dtype == value.dtype
    made = entry.metadata
    assert (made.task, made.method, made.seed, made.format) == ("mrpc", "dtvg", 1, 2)
    assert made.prompt_digest == prompt_store.digest(arrays()["prompt"])


def test_a_digest_is_of_shape_and_float32_values():
    one = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert prompt_store.digest(one) == prompt_store.digest(one.astype(np.float64))
    assert prompt_store.digest(one) == prompt_store.digest(np.asfortranarray(one))
    assert prompt_store.digest(one) != prompt_store.digest(one.reshape(3, 2))
    assert prompt_store.digest(one) != prompt_store.digest(one + 1)


def test_the_same_entry_again_is_kept_and_another_refused(prompts):
    path = prompts.folder / NAME / "prompt.safetensors"
    before = path.stat().st_mtime_ns
    prompts.write(arrays(), ABOUT)
    assert path.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="another prompt already, and nothing is over"):
        prompts.write(arrays(1), ABOUT)
    np.testing.assert_array_equal(prompts.read(NAME).arrays["tpv"], arrays()["tpv"])


def test_fields_that_do_not_fit_are_named(prompts):
    with pytest.raises(InputError) as error:
        prompts.read(NAME, Fit(width=8, backbone_digest="cd"))
    sentence = "backbone_digest is 'ab', needed is 'cd'; width is 4, needed is 8"
    assert sentence in str(error.value) and "p_init" not in str(error.value)


def test_a_missing_entry_is_a_sentence(prompts):
    with pytest.raises(InputError, match="no entry 'rte/x-seed0' .*: there are mrpc/"):
        prompts.read("rte/x-seed0")


@pytest.mark.parametrize(
    "name",
    [
        *("../x", "a/../../b", "/etc/passwd", "a", "a/b/c", "", "a/b-seed\u0663"),
        *(
            "a\0/b-seed1",
            "a/\nb-seed1",
            f"{'a' * 300}/b-seed1",
            ".a/b-seed1",
            "a/-seed1",
        ),
    ],
)
def test_names_do_not_climb_out(prompts, name):
    with pytest.raises(InputError, match="is not the name of a stored prompt"):
        prompts.read(name)
    task, _, method = name.partition("/")
    with pytest.raises(InputError, match="is not the name of a stored prompt"):
        prompts.write(arrays(), Metadata(task, f"{method}/x", 0))


@pytest.mark.parametrize(
    ("file", "damage", "sentence"),
    [
        ("prompt.safetensors", lambda b: b[:-5], "cannot be read"),
        ("prompt.safetensors", lambda b: b[:-1] + b"\x7f", "is not the file that"),
        ("prompt.safetensors", lambda b: b"", "cannot be read"),
        ("entry.json", lambda b: b[:-9], "is not JSON"),
        ("entry.json", lambda b: b"[1]", "holds no JSON object"),
        ("entry.json", lambda b: b"\xff", "is not UTF-8 text"),
        (
            "entry.json",
            lambda b: b.replace(b'"format": 2', b'"format": 3'),
            "has format 3, this version reads format 2",
        ),
        (
            "entry.json",
            lambda b: b.replace(b'"stage": 2', b'"stage": 1'),
            "is not as it was written: restore it",
        ),
    ],
)
def test_damage_is_a_sentence(prompts, file, damage, sentence):
    path = prompts.folder / NAME / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=sentence) as error:
        prompts.read(NAME)
    assert "mrpc/dtvg-seed1" in str(error.value)


@pytest.mark.parametrize("function", ["replace", "rename"])
def test_a_write_that_breaks_off_leaves_nothing(tmp_path, monkeypatch, function):
    prompts = prompt_store.PromptStore(tmp_path)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(InputError, match="cannot be written .*No space left"):
        prompts.write(arrays(), ABOUT)
    monkeypatch.undo()
    assert prompts.names() == [] and list((tmp_path / "mrpc").iterdir()) == []
    prompts.write(arrays(), ABOUT)
    assert prompts.names() == [NAME]


def test_p_init_is_kept_under_its_digest(prompts):
    p_init = arrays(3)["prompt"]
    name = prompts.write_p_init(p_init)
    assert prompts.write_p_init(p_init) == name == prompt_store.digest(p_init)
    np.testing.assert_array_equal(prompts.read_p_init(name), p_init)
    path = prompts.folder / "p_init" / f"{name}.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(InputError, match="is not the P_init that its name says"):
        prompts.read_p_init(name)


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (Run(2, "mrpc", "dtvg", 42), "mrpc/dtvg-seed42"),
        (Run(1, "mrpc", "prompt_tuning", 0), "mrpc/stage1-seed0"),
        (
            Run(2, "superglue-cb", "dtvg", 3, "every10"),
            "superglue-cb/dtvg+every10-seed3",
        ),
    ],
)
def test_a_run_and_the_name_of_its_entry(run, name):
    assert str(entries.name_of(run)) == name
    assert entries.parse(name) == entries.name_of(run)


def test_the_arrays_file_says_what_it_is(prompts):
    with safe_open(prompts.folder / NAME / "prompt.safetensors", "np") as file:
        assert file.metadata() == {
            "task": "mrpc",
            "method": "dtvg",
            "variant": "",
            "seed": "1",
            "backbone": "small",
        }


def test_the_same_prompt_gives_the_same_bytes(tmp_path):
    # The header's keys come in another order in each process unless they are sorted.
    code = (
        "import sys, numpy as np\n"
        "from dtvg_jax.store.prompt_store import PromptStore\n"
        "from dtvg_jax.store.entries import Metadata\n"
        "about = Metadata('rte', 'dtvg', 1, backbone='small')\n"
        "PromptStore(sys.argv[1]).write({'prompt': np.ones((2, 3), 'f4')}, about)\n"
    )
    made = set()
    for number in range(3):
        folder = tmp_path / str(number)
        subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
        made.add((folder / "rte/dtvg-seed1/prompt.safetensors").read_bytes())
    assert len(made) == 1


@pytest.mark.parametrize(
    "stray", ["dtvg-seed1-backup", ".dtvg-seed1.4662", "notes", "dtvg-seedx"]
)
def test_copies_and_leftovers_are_no_entries(prompts, stray):
    shutil.copytree(prompts.folder / NAME, prompts.folder / "mrpc" / stray)
    assert prompts.names() == [NAME] and prompts.strays() == [f"mrpc/{stray}"]


def test_what_a_killed_process_left_is_removed(prompts):
    shutil.copytree(prompts.folder / NAME, prompts.folder / "mrpc/.dtvg-seed1.4662")
    shutil.copytree(prompts.folder / NAME, prompts.folder / "mrpc/dtvg-seed1-backup")
    prompts.remove_leftovers()
    assert prompts.names() == [NAME]
    assert prompts.strays() == ["mrpc/dtvg-seed1-backup"]


def test_what_a_killed_process_left_is_removed_from_a_bucket(bucket):
    """As where the folder of a local job was copied there."""
    files.put(bucket / "mrpc/.dtvg-seed1.4662/prompt.safetensors", b"x")
    prompt_store.PromptStore(str(bucket)).remove_leftovers()
    assert not list(bucket.glob("*/.*/*"))


def test_an_entry_under_another_name_is_refused(prompts):
    other = prompts.folder / "mrpc" / "dtvg-seed2"
    shutil.copytree(prompts.folder / NAME, other)
    with pytest.raises(InputError, match="holds the entry mrpc/dtvg-seed1: it was cop"):
        prompts.read("mrpc/dtvg-seed2")


def change_metadata(path, change):
    """Changes fields as one who knows of the seal."""
    said = json.loads(path.read_text()) | change
    del said[files.SEAL]
    path.write_text(json.dumps(files.seal(said)))


def test_an_entry_of_an_earlier_version_is_read(prompts, tmp_path):
    path = prompts.folder / NAME / "entry.json"
    said = json.loads(path.read_text()) | {"format": 1}
    del said[files.SEAL]
    path.write_text(json.dumps(said))
    assert prompts.read(NAME).metadata.format == 1
    # A job that takes it writes it into its own store as entries are now.
    taken, own = prompts.read(NAME), prompt_store.PromptStore(tmp_path / "own")
    own.write(taken.arrays, taken.metadata)
    assert own.read(NAME).metadata == dataclasses.replace(taken.metadata, format=2)


def test_another_prompt_of_the_same_file_digest_is_refused(prompts):
    path = prompts.folder / NAME / "entry.json"
    change_metadata(path, {"prompt_digest": "0" * 64})
    with pytest.raises(InputError, match="prompt_digest is not that of"):
        prompts.read(NAME)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": "1"}, "seed = '1': it must be a whole number"),
        ({"lengths": [1, "a"]}, r"lengths = \(1, 'a'\): it must be a list of whole"),
        ({"metrics": {"accuracy": None}}, "metrics = .*: it must be an object"),
    ],
)
def test_metadata_of_a_wrong_type_is_named(prompts, change, sentence):
    path = prompts.folder / NAME / "entry.json"
    change_metadata(path, change)
    with pytest.raises(InputError, match=sentence) as error:
        prompts.read(NAME)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_prompt_that_is_not_finite_is_refused(tmp_path, value):
    prompts = prompt_store.PromptStore(tmp_path)
    prompts.write({"prompt": np.full((2, 4), value, np.float32)}, ABOUT)
    with pytest.raises(InputError, match="the array 'prompt' has values that are not"):
        prompts.read(NAME)


def test_arrays_of_another_shape_than_the_metadata_say_are_refused(prompts):
    path = prompts.folder / NAME / "entry.json"
    said = json.loads(path.read_text())
    del said[files.SEAL]
    files.write_json(path, files.seal(said | {"prompt_length": 5}))
    with pytest.raises(InputError, match=r"prompt is \[5, 4\], but .* it is \[3, 4\]"):
        prompts.read(NAME)


def test_vectors_of_another_shape_are_refused(tmp_path):
    prompts = prompt_store.PromptStore(tmp_path)
    prompts.write({"prompt": np.ones((3, 4)), "tpv": np.ones((2, 4))}, ABOUT)
    with pytest.raises(InputError, match=r"'tpv' is \[2, 4\] and 'prompt' \[3, 4\]"):
        prompts.read(NAME)


def test_another_config_of_the_backbone_is_named_by_its_attribute(tmp_path):
    prompts = prompt_store.PromptStore(tmp_path)
    config = {"network": "T5Config", "d_model": 4, "dropout_rate": 0.1}
    about = dataclasses.replace(ABOUT, backbone_config=config)
    prompts.write({"prompt": np.ones((3, 4), np.float32)}, about)
    prompts.read(NAME, Fit(backbone_digest="ab", backbone_config=config))
    other = Fit(backbone_digest="cd", backbone_config=config | {"dropout_rate": 0.2})
    with pytest.raises(InputError) as error:
        prompts.read(NAME, other)
    assert str(error.value).endswith(
        "does not fit: dropout_rate of the backbone's config is 0.1, needed is 0.2"
    )
    with pytest.raises(InputError, match="backbone_digest is 'ab', needed is 'cd'$"):
        prompts.read(NAME, other._replace(backbone_config=config))
