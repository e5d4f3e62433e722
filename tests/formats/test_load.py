"""Backbones by name or folder: what is read of them, and when."""

import json
import pathlib

import jax
import numpy as np
import pytest

from dtvg_jax.formats import load, tensors


def test_config_vocabulary_and_shapes_are_had_without_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = load.load_backbone("miniature", "bfloat16")

    def read(*_: object) -> np.ndarray:
        raise AssertionError("a weight was read")

    monkeypatch.setattr(tensors, "_read", read)
    source = load.open_source("miniature")
    abstract = source.abstract("bfloat16")
    assert (source.config, abstract.config) == (whole.config, whole.config)
    assert source.vocabulary().digest == whole.vocabulary.digest
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), whole.params)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), abstract.params) == shapes
    with pytest.raises(AssertionError, match="a weight was read"):
        source.checkpoint.params("bfloat16")


def test_the_home_folder_is_meant_by_a_tilde(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").symlink_to(load.EMBEDDED / "miniature")
    source = load.open_source("~/model")
    assert source.name == "model"
    config = json.loads((load.EMBEDDED / "miniature" / "config.json").read_text())
    assert source.config.hidden_size == config["d_model"]
