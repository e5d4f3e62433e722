"""T5X checkpoints: every layout that is read, and what is written."""

import ast
import importlib.util
import json
import pathlib
import subprocess
import sys
from typing import Any

import golden_backbones as golden
import jax
import ml_dtypes
import msgpack
import numpy as np
import pytest
from safetensors import numpy as safetensors
from t5x_layouts import (
    LAYOUTS,
    Leaves,
    all_stored,
    assert_is,
    leaves_of,
    model_folder,
    store_array,
    unstacked,
    write_index,
)

from dtvg_jax.errors import InputError
from dtvg_jax.formats import hugging_face, t5x


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read(layout: str, tmp_path: pathlib.Path) -> None:
    LAYOUTS[layout](model_folder(tmp_path), leaves_of("t5_v1_1"))
    assert_is(tmp_path, "t5_v1_1")


def test_version_2_keeps_bfloat16_as_its_bits(tmp_path: pathlib.Path) -> None:
    want = {p: x.astype(ml_dtypes.bfloat16) for p, x in leaves_of("t5_v1_1").items()}
    checkpoint = model_folder(tmp_path)
    target: dict[str, Any] = {p: x.view(np.uint16) for p, x in want.items()}
    stored = "token_embedder/embedding"
    target[stored] = store_array(checkpoint, stored, target[stored])
    assert target[stored]["metadata"]["dtype"] == "<u2"
    write_index(checkpoint, target, version=2)
    params = t5x.open_checkpoint(tmp_path).params("bfloat16")
    got = unstacked(params)
    for path, array in want.items():
        np.testing.assert_array_equal(got[path], array)


# The attentions of a layer: names in Hugging Face's files and in T5X, and their norms.
SUBLAYERS = {
    "encoder": [("SelfAttention", "attention", "pre_attention")],
    "decoder": [
        ("SelfAttention", "self_attention", "pre_self_attention"),
        ("EncDecAttention", "encoder_decoder_attention", "pre_cross_attention"),
    ],
}


def _scan(name: str, split: bool) -> Leaves:
    """Lays a Hugging Face T5 out as T5X's scanned layers, by the table of formats.

    query, key, value [D, L, H, K] and out [H, L, K, D] where heads are `split`, else
    [D, L, HK] and [HK, L, D]; mlp [D, L, F] and [F, L, D]; norms [D, L]; relative
    positions [H, L, B], those of the first layer for each where there is one.
    """
    w = safetensors.load_file(golden.GOLDEN / name / "model.safetensors")
    config = json.loads((golden.GOLDEN / name / "config.json").read_text())
    heads = (config["num_heads"], config["d_kv"]) if split else None
    found = {
        "token_embedder/embedding": w["shared.weight"],
        "encoder/encoder_norm/scale": w["encoder.final_layer_norm.weight"],
        "decoder/decoder_norm/scale": w["decoder.final_layer_norm.weight"],
        "decoder/logits_dense/kernel": w["lm_head.weight"].T,
    }
    for stack, count in (
        ("encoder", config["num_layers"]),
        ("decoder", config["num_decoder_layers"]),
    ):
        for path, arrays in _stacks(w, stack, count, heads).items():
            found[f"{stack}/{stack}/{path}"] = np.stack(arrays, axis=1)
    return found


def _stacks(
    w: Leaves, stack: str, count: int, heads: tuple[int, int] | None
) -> dict[str, list[np.ndarray]]:
    """Lists the arrays of a stack's layers by T5X's name; `heads` are split off."""
    blocks = [f"{stack}.block.{i}.layer" for i in range(count)]
    found = {}
    for j, (theirs, name, norm) in enumerate(SUBLAYERS[stack]):
        for letter, part in zip("qkvo", ("query", "key", "value", "out"), strict=True):
            arrays = [w[f"{b}.{j}.{theirs}.{letter}.weight"].T for b in blocks]
            if heads is not None:
                shape = (*heads, -1) if part == "out" else (-1, *heads)
                arrays = [x.reshape(shape) for x in arrays]
            found[f"{name}/{part}/kernel"] = arrays
        norms = [w[f"{b}.{j}.layer_norm.weight"] for b in blocks]
        found[f"{norm}_layer_norm/scale"] = norms
    j = len(SUBLAYERS[stack])
    found["pre_mlp_layer_norm/scale"] = [
        w[f"{b}.{j}.layer_norm.weight"] for b in blocks
    ]
    for part in ("wi_0", "wi_1", "wo"):
        arrays = [w[f"{b}.{j}.DenseReluDense.{part}.weight"].T for b in blocks]
        found[f"mlp/{part}/kernel"] = arrays
    bias = "0.SelfAttention.relative_attention_bias.weight"
    names = [n if (n := f"{b}.{bias}") in w else f"{blocks[0]}.{bias}" for b in blocks]
    found["relpos_bias/rel_embedding"] = [w[n].T for n in names]
    return found


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("name", ["t5_v1_1", "t5_v1_1_narrow", "umt5"])
def test_scanned_layers_are_those_of_the_model_folder(
    name: str, split: bool, tmp_path: pathlib.Path
) -> None:
    all_stored(model_folder(tmp_path, name), _scan(name, split))
    assert_is(tmp_path, name)


@pytest.mark.parametrize("name", golden.T5_CASES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_written_checkpoint_reads_back_the_same(
    name: str, dtype: str, tmp_path: pathlib.Path
) -> None:
    opened = hugging_face.open_checkpoint(golden.GOLDEN / name)
    config, params = opened.config, opened.params(dtype)
    assert t5x.write(tmp_path, config, params, 12) == tmp_path / "checkpoint_12"
    again = t5x.open_checkpoint(tmp_path)
    assert again.config == config
    got = again.params(dtype)
    jax.tree.map(np.testing.assert_array_equal, got, params)
    assert {x.dtype for x in jax.tree.leaves(got)} == {jax.numpy.dtype(dtype)}
    named = t5x.open_checkpoint(tmp_path / "checkpoint_12")
    assert again.digest() == named.digest()
    with pytest.raises(InputError, match="checkpoint_12 already exists"):
        t5x.write(tmp_path, config, params, 12)


def test_what_t5x_cannot_hold_is_not_written(tmp_path: pathlib.Path) -> None:
    llama, t5 = golden.load("llama_untied"), golden.load("t5_v1_0")
    with pytest.raises(InputError, match="only a T5 can be written as T5X"):
        t5x.write(tmp_path, llama.config, llama.params)
    odd = t5.config.__class__(**(vars(t5.config) | {"scale_outputs": False}))
    with pytest.raises(InputError, match="tied_head True and scale_outputs False"):
        t5x.write(tmp_path, odd, t5.params)
    assert not list(tmp_path.iterdir())


def _real_reader(shared: pathlib.Path) -> Any:
    path = shared / "real" / "get_t5_1_1_tiny.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_another_reader_reads_what_was_written(
    shared: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    # That reader shares no code with this package, Flax or TensorStore.
    b = golden.load("t5_v1_1_narrow")
    t5x.write(tmp_path, b.config, b.params)
    got = _real_reader(shared).read_checkpoint(str(tmp_path / "checkpoint_0"))
    want = leaves_of("t5_v1_1_narrow")
    assert got.keys() == want.keys()
    for path, array in want.items():
        np.testing.assert_array_equal(got[path], array)


def _types(node: Any, path: str = "") -> dict[str, str]:
    """Lists what a msgpack file holds where: types, and codes of Flax's own."""
    if isinstance(node, dict):
        found = [_types(value, f"{path}/{name}") for name, value in node.items()]
        return dict(item for part in found for item in part.items())
    if isinstance(node, msgpack.ExtType):
        return {path: f"ext {node.code}"}
    return {path: type(node).__name__}


def test_the_index_has_the_keys_and_types_that_t5x_writes(
    shared: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    theirs = shared / "real" / "t5x_written" / "native"
    if not theirs.is_dir():
        pytest.skip(f"{theirs} holds the checkpoint that T5X wrote, and is not there")
    opened = t5x.open_checkpoint(theirs)
    made = t5x.write(tmp_path, opened.config, opened.params("float32"), 5)
    indices = [
        msgpack.unpackb((folder / "checkpoint").read_bytes(), raw=False)
        for folder in (theirs / "checkpoint_5", made)
    ]
    # Without an optimizer's state T5X restores parameters and step.
    del indices[0]["optimizer"]["state"]["param_states"]
    want, got = (_types(index) for index in indices)
    assert got == want
    assert got["/optimizer/state/step"] == "ext 1"  # an array without axes
    assert indices[1]["optimizer"]["state"] == indices[0]["optimizer"]["state"]


@pytest.mark.parametrize("name", golden.T5_CASES)
def test_the_gin_beside_a_checkpoint_reads_back_the_same(
    name: str, tmp_path: pathlib.Path
) -> None:
    b = golden.load(name)
    t5x.write(tmp_path, b.config, b.params)
    (tmp_path / "config.json").unlink()
    if name == "umt5":  # T5X's network has no relative positions per layer.
        assert not (tmp_path / "config.gin").exists()
    else:
        assert t5x.open_checkpoint(tmp_path).config == b.config


# T5X's, as far as gin meets it.
NETWORK = """
import dataclasses
@dataclasses.dataclass
class T5Config:
    vocab_size: int
    dtype: str = "float32"
    emb_dim: int = 512
    num_heads: int = 8
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6
    head_dim: int = 64
    mlp_dim: int = 2048
    mlp_activations: tuple = ("relu",)
    dropout_rate: float = 0.1
    logits_via_embedding: bool = False
    float32_attention_logits: bool = False
class Transformer:
    def __init__(self, config):
        self.config = config
"""
READ = """
import sys, gin
from gin import config
from t5x.examples.t5 import network
gin.parse_config_file(sys.argv[1])
print(vars(gin.get_configurable("network.Transformer")().config))
"""


def test_gin_makes_the_network_of_a_written_checkpoint(tmp_path: pathlib.Path) -> None:
    b = golden.load("t5_v1_0")
    t5x.write(tmp_path, b.config, b.params)
    package = tmp_path / "t5x" / "examples" / "t5"
    package.mkdir(parents=True)
    (package / "network.py").write_text(NETWORK)
    command = [sys.executable, "-c", READ, str(tmp_path / "config.gin")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ast.literal_eval(done.stdout or repr(done.stderr)) == {
        "vocab_size": 60,
        "dtype": "float32",
        "emb_dim": 16,
        "num_heads": 4,
        "num_encoder_layers": 2,
        "num_decoder_layers": 2,
        "head_dim": 4,
        "mlp_dim": 24,
        "mlp_activations": ("relu",),
        "dropout_rate": 0.1,
        "logits_via_embedding": True,
        "float32_attention_logits": False,
    }
