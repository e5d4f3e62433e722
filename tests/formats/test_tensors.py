"""Tensors of a checkpoint: read in pieces, put into their sharding, little memory."""

import json
import pathlib
import subprocess
import sys

import golden_backbones as golden
import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors

from dtvg_jax.errors import InputError
from dtvg_jax.formats import hugging_face, tensors
from dtvg_jax.models import backbone
from dtvg_jax.shapes import Params

FILE = np.arange(35, dtype=np.float32).reshape(7, 5)


def _tensor(step: int = 1) -> tuple[tensors.Tensor, list[int]]:
    """A tensor that notes how many rows are read at a time."""
    rows = []

    def read(box: tensors.Box) -> np.ndarray:
        rows.append(box[0].stop - box[0].start)
        return FILE[box]

    return tensors.Tensor(FILE.shape, "float32", read, step), rows


@pytest.mark.parametrize(
    ("step", "chunk", "want"),
    [
        (1, 1000, [7]),
        (1, 40, [2, 2, 2, 1]),  # A row has 20 bytes.
        (1, 10, [1] * 7),
        (3, 10, [3, 3, 1]),
        (3, 130, [6, 1]),
    ],
)
@pytest.mark.parametrize("transposed", [False, True])
def test_a_tensor_is_read_in_chunks_of_whole_steps(
    step: int,
    chunk: int,
    want: list[int],
    transposed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tensors, "CHUNK", chunk)
    tensor, rows = _tensor(step)
    opened = tensors.Checkpoint(
        golden.load("t5_v1_0").config,
        {tensors.Slot("a/b"): tensor._replace(transposed=transposed)},
        (),
    )
    got = opened.params("bfloat16")["a"]["b"]
    assert rows == want
    np.testing.assert_array_equal(got, FILE.T if transposed else FILE)
    assert got.dtype == jax.numpy.bfloat16


def test_layers_are_read_into_one_array_in_their_order() -> None:
    def read(factor: int) -> tensors.Tensor:
        return tensors.Tensor(FILE.shape, "float32", lambda box: factor * FILE[box])

    # Ten, as names would be sorted otherwise.
    stored = {tensors.Slot("a/b", i): read(i) for i in reversed(range(11))}
    opened = tensors.Checkpoint(golden.load("t5_v1_0").config, stored, ())
    got = opened.params("float32")["a"]["b"]
    np.testing.assert_array_equal(got, np.stack([i * FILE for i in range(11)]))


def test_tensors_are_compared_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "CHUNK", 40)
    tensor = _tensor()[0]
    other = np.array(FILE)
    changed = tensor._replace(read=lambda box: other[box])
    assert tensors.same(tensor, changed)
    other[-1, -1] += 1
    assert not tensors.same(tensor, changed)
    assert not tensors.same(tensor, tensor._replace(shape=(7, 4)))


@pytest.mark.parametrize("name", ["t5_v1_1", "llama_3_tied"])
@pytest.mark.parametrize("axis", [0, -1])  # That of layers, and one of each layer's.
def test_parameters_go_into_their_sharding(name: str, axis: int) -> None:
    mesh = jax.make_mesh((2,), ("model",))

    def shardings(config: backbone.Config) -> Params:
        def place(x: jax.ShapeDtypeStruct) -> jax.NamedSharding:
            axes: list[str | None] = [None] * x.ndim
            axes[axis] = "model" if x.shape[axis] % 2 == 0 else None
            return jax.NamedSharding(mesh, jax.P(*axes))

        return jax.tree.map(place, backbone.param_shapes(config))

    opened = hugging_face.open_checkpoint(golden.GOLDEN / name)
    wanted = shardings(opened.config)
    params = opened.params("float32", wanted)
    assert jax.tree.map(lambda x: x.sharding, params) == wanted
    assert sum(not x.is_fully_replicated for x in jax.tree.leaves(params)) > 10
    jax.tree.map(np.testing.assert_array_equal, params, golden.load(name).params)


def test_integers_are_no_weights(tmp_path: pathlib.Path) -> None:
    folder = golden.GOLDEN / "t5_v1_0"
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    arrays = safetensors.load_file(folder / "model.safetensors")
    name = "encoder.final_layer_norm.weight"
    arrays[name] = arrays[name].astype(np.int8)
    safetensors.save_file(arrays, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=f"nor float64: {name} is I8"):
        hugging_face.open_checkpoint(tmp_path)


# The child's own peak, so that nothing else of the tests counts.
CHILD = """
import json, pathlib, sys
import jax
from dtvg_jax.formats import hugging_face
def status(field):
    for line in open("/proc/self/status"):
        if line.startswith(field):
            return int(line.split()[1]) * 1024
jax.device_put(0.0)
before = status("VmRSS")
params = hugging_face.open_checkpoint(pathlib.Path(sys.argv[1])).params("float32")
size = sum(x.nbytes for x in jax.tree.leaves(params))
print(json.dumps([status("VmHWM") - before, size]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_loading_needs_hardly_more_memory_than_the_parameters(
    tmp_path: pathlib.Path,
) -> None:
    # Two matrices, embedding and head, are nearly all of it, as in a small mT5.
    attributes = json.loads((golden.GOLDEN / "t5_v1_1" / "config.json").read_text())
    rows = 2_000_000
    arrays = safetensors.load_file(golden.GOLDEN / "t5_v1_1" / "model.safetensors")
    for name in ("shared.weight", "lm_head.weight"):
        arrays[name] = np.full((rows, 16), len(name), np.float32)
    safetensors.save_file(arrays, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(attributes | {"vocab_size": rows}))
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, size = json.loads(done.stdout)
    assert size > 250e6
    assert peak < 1.2 * size
