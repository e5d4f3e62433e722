"""Real weights through the loader: golden logits and greedy ids of ../shared/real."""

import json
import pathlib
import shutil
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dtvg_jax.formats.load import load_backbone
from dtvg_jax.inference import decoding
from dtvg_jax.models import backbone


def _make(script: pathlib.Path, folder: pathlib.Path) -> backbone.Backbone:
    command = [sys.executable, str(script), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{script.name} cannot make the folder: {done.stderr[-200:]}")
    return load_backbone(str(folder))


def _check(b: backbone.Backbone, expected: pathlib.Path) -> None:
    """Holds logits and greedy ids against values made with torch and transformers."""
    golden = json.loads(expected.read_text())
    endless = b._replace(vocabulary=SimpleNamespace(eos_id=-7))
    no_prompt = jnp.zeros((0, b.embedding(b.params).shape[1]))
    greedy = jax.jit(
        lambda params, inputs, length: decoding.greedy(
            endless, params, no_prompt, inputs, length
        ).tokens[0],
        static_argnums=2,
    )
    for case in golden["cases"]:
        inputs = np.array(case["input_ids"], np.int32)[None]
        before = case.get("decoder_input_ids", [0])
        targets = np.array([*before[1:], 0], np.int32)[None]
        logits = jax.jit(b.logits)(b.params, no_prompt, inputs, targets)[0, -1]
        wanted = case.get("next_logits", case.get("last_logits"))
        got = {name: float(logits[int(name)]) for name in wanted}
        # The golden logits are rounded to four places; 1e-4 of the largest besides.
        tolerance = 5e-5 + 1e-4 * float(jnp.abs(logits).max())
        assert got == pytest.approx(wanted, rel=0, abs=tolerance)
        made = greedy(b.params, inputs, len(case["greedy_ids"]))
        assert made.tolist() == case["greedy_ids"]


def _check_text(b: backbone.Backbone, expected: pathlib.Path) -> None:
    for case in json.loads(expected.read_text())["cases"]:
        ids = [*b.vocabulary.prefix_ids, *b.vocabulary.encode([case["prompt"]])[0]]
        assert ids == case["input_ids"]
        if b.vocabulary.eos_id not in case["greedy_ids"]:
            assert b.vocabulary.decode([case["greedy_ids"]]) == [case["greedy_text"]]


@pytest.mark.slow
def test_t5_1_1_tiny(shared: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The T5X checkpoint is that of the Hugging Face folder made of it, leaf by leaf.

    So the golden values, made from the latter, hold for the former.
    """
    made = _make(shared / "real" / "get_t5_1_1_tiny.py", tmp_path / "hugging_face")
    native = tmp_path / "t5x"
    shutil.copytree(shared / "real" / "t5" / "test_t5_1_1_tiny", native)
    shutil.copy(shared / "real" / "t5" / "spiece.model", native)
    shutil.copy(tmp_path / "hugging_face" / "config.json", native)
    b = load_backbone(str(native))
    assert b.name == "t5x-checkpoint_3" and b.config == made.config
    assert len(jax.tree.leaves(b.params)) == 29
    jax.tree.map(np.testing.assert_array_equal, b.params, made.params)
    expected = shared / "real" / "expected_t5.json"
    _check(b, expected)
    for item in json.loads(expected.read_text())["tokenization"]:
        assert b.vocabulary.encode([item["text"]]) == [item["ids"]]


@pytest.mark.slow
def test_stories260k(shared: pathlib.Path, tmp_path: pathlib.Path) -> None:
    b = _make(shared / "real" / "get_stories260k.py", tmp_path)
    _check(b, shared / "real" / "expected_stories260k.json")
    _check_text(b, shared / "real" / "expected_stories260k.json")


@pytest.mark.slow
def test_smollm2_135m(shared: pathlib.Path, tmp_path: pathlib.Path) -> None:
    b = _make(shared / "real" / "get_smollm2_135m.py", tmp_path)
    _check(b, shared / "real" / "expected_smollm2_135m.json")
    _check_text(b, shared / "real" / "expected_smollm2_135m.json")
