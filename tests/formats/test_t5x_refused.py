"""T5X checkpoints that are refused, which one is taken, and configs in gin."""

import gzip
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flax import serialization
from t5x_layouts import (
    all_stored,
    assert_is,
    inline,
    leaves_of,
    model_folder,
    orbax,
    store_array,
)

from dtvg_jax.errors import InputError
from dtvg_jax.formats import t5x

# Broken checkpoints: what is done to a whole one, and the sentence for it.


def _change_index(change: Callable[[dict], Any]) -> Callable[[pathlib.Path], None]:
    def broken(checkpoint: pathlib.Path) -> None:
        path = checkpoint / "checkpoint"
        tree = serialization.msgpack_restore(path.read_bytes())
        change(tree)
        path.write_bytes(serialization.msgpack_serialize(tree))

    return broken


def _spec(tree: dict) -> dict:
    return tree["optimizer"]["target"]["decoder"]["logits_dense"]["kernel"]


def _misshapen(checkpoint: pathlib.Path) -> None:
    folder = checkpoint / "target.decoder.logits_dense.kernel"
    shutil.rmtree(folder)
    spec = store_array(checkpoint, "decoder/logits_dense/kernel", np.zeros((16, 61)))
    _change_index(lambda tree: _spec(tree).update(spec))(checkpoint)


def _truncated(checkpoint: pathlib.Path) -> None:
    path = checkpoint / "target.decoder.logits_dense.kernel" / "0.0"
    path.write_bytes(path.read_bytes()[:-40])


def _truncated_inside(checkpoint: pathlib.Path) -> None:
    path = checkpoint / "target.decoder.logits_dense.kernel" / "0.0"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-4]))


def _truncated_index(checkpoint: pathlib.Path) -> None:
    path = checkpoint / "checkpoint"
    path.write_bytes(path.read_bytes()[:-100])


HEAD = "decoder/logits_dense/kernel"
FOLDER = "target.decoder.logits_dense.kernel"
BROKEN = {
    "folder missing": (
        lambda c: shutil.rmtree(c / FOLDER),
        f"{HEAD} points to '{FOLDER}', a folder that is missing",
    ),
    "leaf missing": (
        _change_index(
            lambda t: t["optimizer"]["target"]["decoder"].pop("logits_dense")
        ),
        f"do not fit; missing: {HEAD}",
    ),
    "leaf nil": (
        _change_index(
            lambda t: t["optimizer"]["target"]["decoder"].update(logits_dense=None)
        ),
        f"do not fit; missing: {HEAD}",
    ),
    "embedding missing": (
        _change_index(lambda t: t["optimizer"]["target"].pop("token_embedder")),
        "no parameter target/token_embedder/embedding",
    ),
    "extra": (
        _change_index(lambda t: t["optimizer"]["target"].update(extra=np.zeros(2))),
        "do not fit; unexpected: extra",
    ),
    "misshapen": (
        _misshapen,
        rf"misshapen: {HEAD} is \[16, 61\], should be \[16, 60\]",
    ),
    "index of another": (
        _change_index(lambda t: _spec(t)["metadata"].update(shape=[16, 61])),
        f'{HEAD} cannot be opened: .*Expected "shape" of .16,61. but received: .16,60.',
    ),
    "truncated": (_truncated, f"the array {HEAD} is damaged"),
    "truncated inside": (_truncated_inside, f"the array {HEAD} is damaged"),
    "chunk missing": (
        lambda c: (c / FOLDER / "0.0").unlink(),
        f"the array {HEAD} is damaged: .*is missing",
    ),
    "climbs out": (
        _change_index(lambda t: _spec(t)["kvstore"].update(path="../../etc")),
        f"{HEAD} points to '../../etc', out of the checkpoint's folder",
    ),
    "absolute": (
        _change_index(lambda t: _spec(t)["kvstore"].update(path="/etc")),
        f"{HEAD} points to '/etc', out of the checkpoint's folder",
    ),
    "no path": (
        _change_index(lambda t: _spec(t).update(kvstore="gs://bucket/x")),
        f"{HEAD} does not name a zarr array",
    ),
    "truncated index": (_truncated_index, "not a whole msgpack file of T5X"),
    "no index": (
        lambda c: (c / "checkpoint").write_bytes(b"model_checkpoint_path: x"),
        "is a TensorFlow checkpoint",
    ),
    "a list": (
        lambda c: (c / "checkpoint").write_bytes(serialization.msgpack_serialize([1])),
        "holds no tree",
    ),
    "version 1": (_change_index(lambda t: t.update(version=1)), "is of version 1"),
    "no config": (
        lambda c: (c.parent / "config.json").unlink(),
        "does not say what model it is of: put the config.gin",
    ),
    "empty": (
        lambda c: [shutil.rmtree(c), c.mkdir()],
        "checkpoint_7 is not a T5X checkpoint: it should hold the file 'checkpoint'",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_checkpoint_is_refused_with_its_own_sentence(
    what: str, tmp_path: pathlib.Path
) -> None:
    checkpoint = model_folder(tmp_path)
    all_stored(checkpoint, leaves_of("t5_v1_1"))
    change, sentence = BROKEN[what]
    change(checkpoint)
    with pytest.raises(InputError, match=sentence):
        t5x.open_checkpoint(tmp_path).params("float32")


def test_a_link_out_of_the_checkpoint_is_not_followed(tmp_path: pathlib.Path) -> None:
    checkpoint = model_folder(tmp_path)
    all_stored(checkpoint, leaves_of("t5_v1_1"))
    (checkpoint / FOLDER).rename(tmp_path / "elsewhere")
    (checkpoint / FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="out of the checkpoint's folder"):
        t5x.open_checkpoint(tmp_path).params("float32")


def test_a_damaged_orbax_database_is_refused(tmp_path: pathlib.Path) -> None:
    checkpoint = model_folder(tmp_path)
    orbax(True, checkpoint, leaves_of("t5_v1_1"))
    path = checkpoint / "state" / "manifest.ocdbt"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="state is damaged"):
        t5x.open_checkpoint(tmp_path).params("float32")


def test_the_newest_finished_checkpoint_is_taken(tmp_path: pathlib.Path) -> None:
    for name in ("checkpoint_9", "checkpoint_10", "checkpoint_11.tmp-1", "checkpoints"):
        (tmp_path / name).mkdir()
    assert t5x.find(tmp_path) == tmp_path / "checkpoint_10"
    assert t5x.find(tmp_path / "checkpoint_9") == tmp_path / "checkpoint_9"
    assert t5x.find(tmp_path / "checkpoints") is None


# The shape of golden t5_v1_1, as T5X's files say it: a written one, an operative one.
WRITTEN = """
from __gin__ import dynamic_registration
import seqio
from t5x.examples.t5 import network

DROPOUT_RATE = 0.1
VOCABULARY = @seqio.SentencePieceVocabulary()
seqio.SentencePieceVocabulary.sentencepiece_model_file = "gs://bucket/vocab.model"
network.Transformer.config = @network.T5Config()
network.T5Config:
  vocab_size = 60  # rounded
  dtype = 'bfloat16'
  emb_dim = 16
  num_heads = 4
  num_encoder_layers = 2
  num_decoder_layers = 2
  head_dim = 4
  mlp_dim = 24
  mlp_activations = ('gelu', 'linear')
  dropout_rate = %DROPOUT_RATE
  logits_via_embedding = False
"""
OPERATIVE = """
# Macros:
RATE = %DROPOUT_RATE
DROPOUT_RATE = 0.1
# Parameters for network.T5Config:
network.T5Config.dropout_rate = %RATE
network.T5Config.emb_dim = 16
network.T5Config.float32_attention_logits = True
network.T5Config.head_dim = 4
network.T5Config.mlp_activations = \\
    ('gelu', 'linear')
network.T5Config.mlp_dim = 24
network.T5Config.num_decoder_layers = 2
network.T5Config.num_encoder_layers = 2
network.T5Config.num_heads = 4
network.T5Config.vocab_size = 60
"""


@pytest.mark.parametrize("text", [WRITTEN, OPERATIVE])
@pytest.mark.parametrize("where", [".", "checkpoint_7"])
def test_a_gin_config_of_t5x_is_read(
    text: str, where: str, tmp_path: pathlib.Path
) -> None:
    checkpoint = model_folder(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / where / "config.gin").write_text(text)
    all_stored(checkpoint, leaves_of("t5_v1_1"))
    assert_is(tmp_path, "t5_v1_1")


def test_a_gin_config_of_version_1_0_ties_and_scales(tmp_path: pathlib.Path) -> None:
    checkpoint = model_folder(tmp_path)
    (tmp_path / "config.json").unlink()
    text = WRITTEN.replace("('gelu', 'linear')", "('relu',)")
    text = text.replace("logits_via_embedding = False", "logits_via_embedding = True")
    (tmp_path / "config.gin").write_text(text)
    all_stored(checkpoint, leaves_of("t5_v1_0"))
    assert_is(tmp_path, "t5_v1_0")


GIN_REFUSED = [
    (
        ("DROPOUT_RATE = 0.1", "DROPOUT_RATE = %gin.REQUIRED"),
        "gin.REQUIRED is not known",
    ),
    (("num_heads = 4", "num_heads = 4\n  new_trick = 3"), "T5Config.new_trick = 3 is"),
    (("import seqio", "include 'other.gin'"), "includes other.gin"),
    (("('gelu', 'linear')", "('relu', 'linear')"), "mlp_activations is"),
    (("network.T5Config:", "network.T5Config: ("), "cannot be read as gin"),
    (("network.T5Config:", "network.Other:"), "binds nothing of T5X's T5Config"),
    (("num_heads = 4", "num_heads = '4'"), "'num_heads' should be of type int"),
]


@pytest.mark.parametrize(("change", "sentence"), GIN_REFUSED)
def test_gin_configs_that_leave_something_open_are_refused(
    change: tuple[str, str], sentence: str, tmp_path: pathlib.Path
) -> None:
    checkpoint = model_folder(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.gin").write_text(WRITTEN.replace(*change))
    inline(checkpoint, leaves_of("t5_v1_1"))
    with pytest.raises(InputError, match=sentence):
        t5x.open_checkpoint(tmp_path).params("float32")


def test_a_gin_config_is_not_executed(tmp_path: pathlib.Path) -> None:
    checkpoint = model_folder(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "trap.py").write_text("raise SystemExit('executed')")
    (tmp_path / "config.gin").write_text("import trap\n" + WRITTEN)
    inline(checkpoint, leaves_of("t5_v1_1"))
    assert_is(tmp_path, "t5_v1_1")
