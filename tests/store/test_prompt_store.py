"""The prompt store: whole entries, checked when read, never overwritten."""

import json
import os

import numpy as np
import pytest

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.store import prompt_store

NAME = "mrpc/dtvg-seed1"
PASSPORT = {"task": "mrpc", "seed": 1, "backbone_digest": "ab", "width": 4}


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    prompt = rng.normal(size=(3, 4)).astype(np.float32)
    return {"prompt": prompt, "tpv": prompt - 1, "group": np.array([1, 0], np.uint8)}


@pytest.fixture
def prompts(tmp_path) -> prompt_store.PromptStore:
    made = prompt_store.PromptStore(tmp_path / "store")
    made.write(NAME, arrays(), PASSPORT)
    return made


def test_what_is_written_is_read(prompts):
    entry = prompts.read(NAME, width=4, backbone_digest="ab")
    assert prompts.names() == [NAME]
    for name, value in arrays().items():
        np.testing.assert_array_equal(entry.arrays[name], value)
        assert entry.arrays[name].dtype == value.dtype
    assert entry.passport["task"] == "mrpc" and entry.passport["format"] == 1
    assert entry.passport["prompt_digest"] == prompt_store.digest(arrays()["prompt"])


def test_a_digest_is_of_shape_and_float32_values():
    one = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert prompt_store.digest(one) == prompt_store.digest(one.astype(np.float64))
    assert prompt_store.digest(one) == prompt_store.digest(np.asfortranarray(one))
    assert prompt_store.digest(one) != prompt_store.digest(one.reshape(3, 2))
    assert prompt_store.digest(one) != prompt_store.digest(one + 1)


def test_the_same_entry_again_is_kept_and_another_refused(prompts):
    path = prompts.folder / NAME / "prompt.safetensors"
    before = path.stat().st_mtime_ns
    prompts.write(NAME, arrays(), PASSPORT)
    assert path.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="another prompt already, and nothing is over"):
        prompts.write(NAME, arrays(1), PASSPORT)
    np.testing.assert_array_equal(prompts.read(NAME).arrays["tpv"], arrays()["tpv"])


def test_fields_that_do_not_fit_are_named(prompts):
    with pytest.raises(InputError) as error:
        prompts.read(NAME, width=8, backbone_digest="cd", seed=1)
    sentence = "width is 4, needed is 8; backbone_digest is 'ab', needed is 'cd'"
    assert sentence in str(error.value) and "seed" not in str(error.value)[-60:]


def test_a_missing_entry_is_a_sentence(prompts):
    with pytest.raises(InputError, match="no entry 'rte/x-seed0' .*: there are mrpc/"):
        prompts.read("rte/x-seed0")


@pytest.mark.parametrize("name", ["../x", "a/../../b", "/etc/passwd", "a", "a/b/c"])
def test_names_do_not_climb_out(prompts, name):
    with pytest.raises(InputError, match="is no name of a stored prompt"):
        prompts.write(name, arrays(), PASSPORT)
    with pytest.raises(InputError, match="is no name of a stored prompt"):
        prompts.read(name)


@pytest.mark.parametrize(
    ("file", "damage", "sentence"),
    [
        ("prompt.safetensors", lambda b: b[:-5], "cannot be read"),
        ("prompt.safetensors", lambda b: b[:-1] + b"\x7f", "is not the file that"),
        ("prompt.safetensors", lambda b: b"", "cannot be read"),
        ("entry.json", lambda b: b[:-9], "is not JSON"),
        ("entry.json", lambda b: b"[1]", "is no JSON object"),
        ("entry.json", lambda b: b"\xff", "is not JSON"),
        (
            "entry.json",
            lambda b: b.replace(b'"format": 1', b'"format": 2'),
            "format is",
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
        prompts.write(NAME, arrays(), PASSPORT)
    monkeypatch.undo()
    assert prompts.names() == [] and list((tmp_path / "mrpc").iterdir()) == []
    prompts.write(NAME, arrays(), PASSPORT)
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


def test_json_is_written_whole(tmp_path):
    files.write_json(tmp_path / "a" / "x.json", {"b": [1, 2]})
    assert json.loads((tmp_path / "a" / "x.json").read_text()) == {"b": [1, 2]}
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["x.json"]
