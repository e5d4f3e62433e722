"""T5X checkpoints of the tiny golden T5s, in every layout that there has been."""

import functools
import pathlib
import shutil
from typing import Any

import golden_backbones as golden
import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from flax import serialization, traverse_util

from dtvg_jax.formats import t5x
from dtvg_jax.shapes import Params

Leaves = dict[str, np.ndarray]


def leaves_of(name: str) -> Leaves:
    return unstacked(golden.load(name).params)


def unstacked(params: Params) -> Leaves:
    """Gives parameters by the names that T5X has for them, each layer by itself."""
    found = {}
    for path, leaf in traverse_util.flatten_dict(params, sep="/").items():
        stack, layers, rest = path.partition("/layers/")
        for i, part in enumerate(leaf if layers else [leaf]):
            own = f"{stack}/layers_{i}/{rest}" if layers else path
            found[own] = np.asarray(part)
    return found


def model_folder(folder: pathlib.Path, name: str = "t5_v1_1") -> pathlib.Path:
    """Makes a model's folder with its config.json, and in it an empty checkpoint."""
    checkpoint = folder / "checkpoint_7"
    checkpoint.mkdir()
    shutil.copy(golden.GOLDEN / name / "config.json", folder)
    return checkpoint


def write_index(checkpoint: pathlib.Path, target: dict, **top: Any) -> None:
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


def store_array(
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


def assert_is(folder: pathlib.Path, name: str) -> None:
    opened = t5x.open_checkpoint(folder)
    assert opened.config == golden.load(name).config
    params = opened.params("float32")
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
            target[path] = store_array(checkpoint, path, array, None, kvstores[i % 3])
    write_index(checkpoint, target)


def all_stored(checkpoint: pathlib.Path, leaves: Leaves) -> None:
    """As newer T5X writes: every array in TensorStore; chunks that do not divide it."""
    target = {}
    for path, array in leaves.items():
        chunks = tuple(max(1, n // 2 + 1) for n in array.shape)
        target[path] = store_array(checkpoint, path, array, chunks, dtype="float32")
    write_index(checkpoint, target)


def _path_on_top(checkpoint: pathlib.Path, leaves: Leaves) -> None:
    """As TensorStore before 0.1.14 wrote specs: the path outside of the kvstore."""
    target = {}
    for path, array in leaves.items():
        name = f"target.{path.replace('/', '.')}"
        spec = store_array(checkpoint, path, array, None, {"driver": "gfile"})
        target[path] = spec | {"path": name}
    write_index(checkpoint, target)


def _no_dotfiles(checkpoint: pathlib.Path, leaves: Leaves) -> None:
    all_stored(checkpoint, leaves)
    for path in checkpoint.rglob(".zarray"):
        path.unlink()


def inline(checkpoint: pathlib.Path, leaves: Leaves) -> None:
    write_index(checkpoint, dict(leaves))


def _chunked(checkpoint: pathlib.Path, leaves: Leaves) -> None:
    """Inline arrays split into pieces, as those over a gigabyte are."""
    target: dict[str, Any] = dict(leaves)
    for path in ("token_embedder/embedding", "decoder/logits_dense/kernel"):
        flat = leaves[path].ravel()
        target[path] = {
            "__msgpack_chunked_array__": True,
            "shape": {str(i): n for i, n in enumerate(leaves[path].shape)},
            "chunks": {"0": flat[:100], "1": flat[100:]},
        }
    write_index(checkpoint, target)


def _plain_flax(checkpoint: pathlib.Path, leaves: Leaves) -> None:
    tree = traverse_util.unflatten_dict(leaves, sep="/")
    (checkpoint / "checkpoint").write_bytes(serialization.msgpack_serialize(tree))


def orbax(ocdbt: bool, checkpoint: pathlib.Path, leaves: Leaves) -> None:
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=ocdbt)
    target = traverse_util.unflatten_dict(leaves, sep="/")
    tree = {"target": target, "state": {"step": 7, "param_states": {"a": np.ones(2)}}}
    ocp.Checkpointer(handler).save(checkpoint / "state", tree)


def _early_orbax(checkpoint: pathlib.Path, leaves: Leaves) -> None:
    target = {}
    for path, array in leaves.items():
        spec = store_array(checkpoint, path, array)
        target[f"_optimizer/target/{path}"] = f"PLACEHOLDER://{spec['kvstore']['path']}"
    tree = traverse_util.unflatten_dict(target, sep="/")
    (checkpoint / "checkpoint").write_bytes(serialization.msgpack_serialize(tree))
    (checkpoint / "_METADATA").write_text("{}")


LAYOUTS = {
    "mixed": _mixed,
    "all_stored": all_stored,
    "path_on_top": _path_on_top,
    "no_dotfiles": _no_dotfiles,
    "inline": inline,
    "chunked": _chunked,
    "plain_flax": _plain_flax,
    "orbax": functools.partial(orbax, True),
    "orbax_without_ocdbt": functools.partial(orbax, False),
    "early_orbax": _early_orbax,
}
