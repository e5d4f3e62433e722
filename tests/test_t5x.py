"""T5X checkpoints: every layout that is read, what is written, what is refused."""

import functools
import gzip
import importlib.util
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import golden_backbones as golden
import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore as ts
from flax import serialization, traverse_util
from safetensors import numpy as safetensors

from dtvg_jax.errors import InputError
from dtvg_jax.formats import hugging_face, t5x

Leaves = dict[str, np.ndarray]


def _leaves(name: str) -> Leaves:
    flat = traverse_util.flatten_dict(golden.load(name).params, sep="/")
    return {path: np.asarray(leaf) for path, leaf in flat.items()}


def _model(folder: pathlib.Path, name: str = "t5_v1_1") -> pathlib.Path:
    """Makes a model's folder with its config.json, and in it an empty checkpoint."""
    checkpoint = folder / "checkpoint_7"
    checkpoint.mkdir()
    shutil.copy(golden.GOLDEN / name / "config.json", folder)
    return checkpoint


def _write_index(checkpoint: pathlib.Path, target: dict, **top: Any) -> None:
    tree = {
        "target": traverse_util.unflatten_dict(target, sep="/"),
        # A frozen parameter has no slots; unused slots have one element.
        "state": {
            "step": np.int32(7),
            "param_states": {"a": None, "b": {"v_row": np.zeros(1, np.float32)}},
        },
    }
    content = {"version": 3, "optimizer": tree} | top
    (checkpoint / "checkpoint").write_bytes(serialization.msgpack_serialize(content))


def _store(
    checkpoint: pathlib.Path,
    path: str,
    array: np.ndarray,
    chunks: tuple[int, ...] | None = None,
    kvstore: dict | None = None,
    **spec: Any,
) -> dict:
    """Writes an array by TensorStore, and gives what the index says of it."""
    name = f"target.{path.replace('/', '.')}"
    metadata = {
        "chunks": list(chunks or array.shape),
        "compressor": {"id": "gzip", "level": 1},
        "shape": list(array.shape),
    }
    place = {"driver": "file", "path": f"{checkpoint / name}/"}
    made = {"driver": "zarr", "kvstore": place, "metadata": metadata}
    store = ts.open(made, dtype=array.dtype, create=True).result()
    store.write(array).result()
    typed = metadata | {"dtype": store.spec().to_json()["metadata"]["dtype"]}
    named = kvstore or {"driver": "gfile", "path": name}
    return {"driver": "zarr", "kvstore": named, "metadata": typed} | spec


def _assert_is(folder: pathlib.Path, name: str) -> None:
    config, params, _ = t5x.read(folder, "float32")
    assert config == golden.load(name).config
    want = golden.load(name).params
    jax.tree.map(np.testing.assert_array_equal, params, want)
    assert jax.tree.structure(params) == jax.tree.structure(want)


# Layouts: each puts the leaves of a model into a checkpoint's folder in its own way.


def _mixed(checkpoint: pathlib.Path, leaves: Leaves) -> None:
    """Matrices in TensorStore, by several drivers and spellings, the rest inline."""
    target: dict[str, Any] = {}
    for i, (path, array) in enumerate(sorted(leaves.items())):
        name = f"target.{path.replace('/', '.')}"
        kvstores = [
            {"driver": "gfile", "path": name},
            {"driver": "file", "path": name + "/"},
            {"driver": "gcs", "bucket": "t5x-dummy-bucket", "path": name},
        ]
        target[path] = array
        if array.ndim == 2 and "rel_embedding" not in path:
            target[path] = _store(checkpoint, path, array, None, kvstores[i % 3])
    _write_index(checkpoint, target)


def _all_stored(checkpoint: pathlib.Path, leaves: Leaves) -> None:
    """As newer T5X writes: every array in TensorStore; chunks that do not divide it."""
    target = {}
    for path, array in leaves.items():
        chunks = tuple(max(1, n // 2 + 1) for n in array.shape)
        target[path] = _store(checkpoint, path, array, chunks, dtype="float32")
    _write_index(checkpoint, target)


def _path_on_top(checkpoint: pathlib.Path, leaves: Leaves) -> None:
    """As TensorStore before 0.1.14 wrote specs: the path outside of the kvstore."""
    target = {}
    for path, array in leaves.items():
        name = f"target.{path.replace('/', '.')}"
        spec = _store(checkpoint, path, array, None, {"driver": "gfile"})
        target[path] = spec | {"path": name}
    _write_index(checkpoint, target)


def _no_dotfiles(checkpoint: pathlib.Path, leaves: Leaves) -> None:
    _all_stored(checkpoint, leaves)
    for path in checkpoint.rglob(".zarray"):
        path.unlink()


def _inline(checkpoint: pathlib.Path, leaves: Leaves) -> None:
    _write_index(checkpoint, dict(leaves))


def _chunked(checkpoint: pathlib.Path, leaves: Leaves) -> None:
    """Inline arrays cut into pieces, as those over a gigabyte are."""
    target: dict[str, Any] = dict(leaves)
    for path in ("token_embedder/embedding", "decoder/logits_dense/kernel"):
        flat = leaves[path].ravel()
        target[path] = {
            "__msgpack_chunked_array__": True,
            "shape": {str(i): n for i, n in enumerate(leaves[path].shape)},
            "chunks": {"0": flat[:100], "1": flat[100:]},
        }
    _write_index(checkpoint, target)


def _plain_flax(checkpoint: pathlib.Path, leaves: Leaves) -> None:
    tree = traverse_util.unflatten_dict(leaves, sep="/")
    (checkpoint / "checkpoint").write_bytes(serialization.msgpack_serialize(tree))


def _orbax(ocdbt: bool, checkpoint: pathlib.Path, leaves: Leaves) -> None:
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=ocdbt)
    target = traverse_util.unflatten_dict(leaves, sep="/")
    tree = {"target": target, "state": {"step": 7, "param_states": {"a": np.ones(2)}}}
    ocp.Checkpointer(handler).save(checkpoint / "state", tree)


def _early_orbax(checkpoint: pathlib.Path, leaves: Leaves) -> None:
    target = {}
    for path, array in leaves.items():
        spec = _store(checkpoint, path, array)
        target[f"_optimizer/target/{path}"] = f"PLACEHOLDER://{spec['kvstore']['path']}"
    tree = traverse_util.unflatten_dict(target, sep="/")
    (checkpoint / "checkpoint").write_bytes(serialization.msgpack_serialize(tree))
    (checkpoint / "_METADATA").write_text("{}")


LAYOUTS = {
    "mixed": _mixed,
    "all_stored": _all_stored,
    "path_on_top": _path_on_top,
    "no_dotfiles": _no_dotfiles,
    "inline": _inline,
    "chunked": _chunked,
    "plain_flax": _plain_flax,
    "orbax": functools.partial(_orbax, True),
    "orbax_without_ocdbt": functools.partial(_orbax, False),
    "early_orbax": _early_orbax,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read(layout: str, tmp_path: pathlib.Path) -> None:
    LAYOUTS[layout](_model(tmp_path), _leaves("t5_v1_1"))
    _assert_is(tmp_path, "t5_v1_1")


def test_version_2_keeps_bfloat16_as_its_bits(tmp_path: pathlib.Path) -> None:
    want = {p: x.astype(ml_dtypes.bfloat16) for p, x in _leaves("t5_v1_1").items()}
    checkpoint = _model(tmp_path)
    target: dict[str, Any] = {p: x.view(np.uint16) for p, x in want.items()}
    stored = "token_embedder/embedding"
    target[stored] = _store(checkpoint, stored, target[stored])
    assert target[stored]["metadata"]["dtype"] == "<u2"
    _write_index(checkpoint, target, version=2)
    _, params, _ = t5x.read(tmp_path, "bfloat16")
    got = traverse_util.flatten_dict(params, sep="/")
    for path, array in want.items():
        np.testing.assert_array_equal(got[path], array)


def _scan(name: str, split: bool) -> Leaves:
    """Lays a Hugging Face T5 out as T5X's scanned layers, by the table of formats.

    query, key, value [D, L, H, K] and out [H, L, K, D] where heads are `split`, else
    [D, L, HK] and [HK, L, D]; mlp [D, L, F] and [F, L, D]; norms [D, L]; relative
    positions [H, L, B], those of the first layer for each where there is one.
    """
    w = safetensors.load_file(golden.GOLDEN / name / "model.safetensors")
    config = json.loads((golden.GOLDEN / name / "config.json").read_text())
    heads, size = config["num_heads"], config["d_kv"]
    found = {
        "token_embedder/embedding": w["shared.weight"],
        "encoder/encoder_norm/scale": w["encoder.final_layer_norm.weight"],
        "decoder/decoder_norm/scale": w["decoder.final_layer_norm.weight"],
        "decoder/logits_dense/kernel": w["lm_head.weight"].T,
    }
    sublayers = {
        "encoder": [("SelfAttention", "attention", "pre_attention")],
        "decoder": [
            ("SelfAttention", "self_attention", "pre_self_attention"),
            ("EncDecAttention", "encoder_decoder_attention", "pre_cross_attention"),
        ],
    }
    for stack, count in (
        ("encoder", config["num_layers"]),
        ("decoder", config["num_decoder_layers"]),
    ):
        blocks = [f"{stack}.block.{i}.layer" for i in range(count)]
        ours = f"{stack}/{stack}"

        def put(path: str, arrays: list[np.ndarray], ours: str = ours) -> None:
            found[f"{ours}/{path}"] = np.stack(arrays, axis=1)

        for j, (theirs, name_, norm) in enumerate(sublayers[stack]):
            for letter, part in zip("qkv", ("query", "key", "value"), strict=True):
                arrays = [w[f"{b}.{j}.{theirs}.{letter}.weight"].T for b in blocks]
                if split:
                    arrays = [x.reshape(-1, heads, size) for x in arrays]
                put(f"{name_}/{part}/kernel", arrays)
            arrays = [w[f"{b}.{j}.{theirs}.o.weight"].T for b in blocks]
            if split:
                arrays = [x.reshape(heads, size, -1) for x in arrays]
            put(f"{name_}/out/kernel", arrays)
            norms = [w[f"{b}.{j}.layer_norm.weight"] for b in blocks]
            put(f"{norm}_layer_norm/scale", norms)
        j = len(sublayers[stack])
        norms = [w[f"{b}.{j}.layer_norm.weight"] for b in blocks]
        put("pre_mlp_layer_norm/scale", norms)
        for part in ("wi_0", "wi_1", "wo"):
            arrays = [w[f"{b}.{j}.DenseReluDense.{part}.weight"].T for b in blocks]
            put(f"mlp/{part}/kernel", arrays)
        bias = "0.SelfAttention.relative_attention_bias.weight"
        names = [
            n if (n := f"{b}.{bias}") in w else f"{blocks[0]}.{bias}" for b in blocks
        ]
        put("relpos_bias/rel_embedding", [w[n].T for n in names])
    return found


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("name", ["t5_v1_1", "t5_v1_1_narrow", "umt5"])
def test_scanned_layers_are_those_of_the_model(
    name: str, split: bool, tmp_path: pathlib.Path
) -> None:
    _all_stored(_model(tmp_path, name), _scan(name, split))
    _assert_is(tmp_path, name)


@pytest.mark.parametrize("name", golden.T5_CASES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_written_checkpoint_reads_back_the_same(
    name: str, dtype: str, tmp_path: pathlib.Path
) -> None:
    config, params, _ = hugging_face.read(golden.GOLDEN / name, dtype)
    assert t5x.write(tmp_path, config, params, 12) == tmp_path / "checkpoint_12"
    again_config, again, digest = t5x.read(tmp_path, dtype)
    assert again_config == config
    jax.tree.map(np.testing.assert_array_equal, again, params)
    assert {x.dtype for x in jax.tree.leaves(again)} == {jax.numpy.dtype(dtype)}
    assert digest == t5x.read(tmp_path / "checkpoint_12", dtype)[2]
    with pytest.raises(InputError, match="checkpoint_12 is there already"):
        t5x.write(tmp_path, config, params, 12)


def test_what_t5x_cannot_hold_is_not_written(tmp_path: pathlib.Path) -> None:
    llama, t5 = golden.load("llama_untied"), golden.load("t5_v1_0")
    with pytest.raises(InputError, match="T5X has no Llama"):
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
    want = _leaves("t5_v1_1_narrow")
    assert got.keys() == want.keys()
    for path, array in want.items():
        np.testing.assert_array_equal(got[path], array)


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
    spec = _store(checkpoint, "decoder/logits_dense/kernel", np.zeros((16, 61)))
    _change_index(lambda tree: _spec(tree).update(spec))(checkpoint)


def _truncated(checkpoint: pathlib.Path) -> None:
    path = checkpoint / "target.decoder.logits_dense.kernel" / "0.0"
    path.write_bytes(path.read_bytes()[:-40])


def _truncated_inside(checkpoint: pathlib.Path) -> None:
    path = checkpoint / "target.decoder.logits_dense.kernel" / "0.0"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-4]))


def _cut_index(checkpoint: pathlib.Path) -> None:
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
    "cut index": (_cut_index, "not a whole msgpack file of T5X"),
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
        "checkpoint_7 is no T5X checkpoint: it should hold the file 'checkpoint'",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_checkpoint_is_refused_with_its_own_sentence(
    what: str, tmp_path: pathlib.Path
) -> None:
    checkpoint = _model(tmp_path)
    _all_stored(checkpoint, _leaves("t5_v1_1"))
    change, sentence = BROKEN[what]
    change(checkpoint)
    with pytest.raises(InputError, match=sentence):
        t5x.read(tmp_path, "float32")


def test_a_link_out_of_the_checkpoint_is_not_followed(tmp_path: pathlib.Path) -> None:
    checkpoint = _model(tmp_path)
    _all_stored(checkpoint, _leaves("t5_v1_1"))
    (checkpoint / FOLDER).rename(tmp_path / "elsewhere")
    (checkpoint / FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="out of the checkpoint's folder"):
        t5x.read(tmp_path, "float32")


def test_a_damaged_orbax_database_is_refused(tmp_path: pathlib.Path) -> None:
    checkpoint = _model(tmp_path)
    _orbax(True, checkpoint, _leaves("t5_v1_1"))
    path = checkpoint / "state" / "manifest.ocdbt"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="state is damaged"):
        t5x.read(tmp_path, "float32")


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
    checkpoint = _model(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / where / "config.gin").write_text(text)
    _all_stored(checkpoint, _leaves("t5_v1_1"))
    _assert_is(tmp_path, "t5_v1_1")


def test_a_gin_config_of_version_1_0_ties_and_scales(tmp_path: pathlib.Path) -> None:
    checkpoint = _model(tmp_path)
    (tmp_path / "config.json").unlink()
    text = WRITTEN.replace("('gelu', 'linear')", "('relu',)")
    text = text.replace("logits_via_embedding = False", "logits_via_embedding = True")
    (tmp_path / "config.gin").write_text(text)
    _all_stored(checkpoint, _leaves("t5_v1_0"))
    _assert_is(tmp_path, "t5_v1_0")


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
    checkpoint = _model(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.gin").write_text(WRITTEN.replace(*change))
    _inline(checkpoint, _leaves("t5_v1_1"))
    with pytest.raises(InputError, match=sentence):
        t5x.read(tmp_path, "float32")


def test_a_gin_config_is_not_executed(tmp_path: pathlib.Path) -> None:
    checkpoint = _model(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "trap.py").write_text("raise SystemExit('executed')")
    (tmp_path / "config.gin").write_text("import trap\n" + WRITTEN)
    _inline(checkpoint, _leaves("t5_v1_1"))
    _assert_is(tmp_path, "t5_v1_1")
