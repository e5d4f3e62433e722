"""Hugging Face folders: config.json and safetensors, to and from parameter trees.

Reading is strict: nothing is loaded unless every tensor is used, every parameter is
filled and every attribute of the config is understood.
"""

import json
import pathlib
from collections.abc import Sequence

import jax
import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.formats import families, tensors
from dtvg_jax.formats.families import t5
from dtvg_jax.formats.tensors import Box, Checkpoint, Tensor
from dtvg_jax.models.t5_config import T5Config
from dtvg_jax.shapes import Params

REMEDY = (
    "a backbone is a Hugging Face folder with config.json, safetensors and a vocabulary"
)
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARDS = "model-*-of-*.safetensors"
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
}


def open_checkpoint(folder: pathlib.Path) -> Checkpoint:
    """Opens a folder and checks that its config and weights describe the same model.

    Raises InputError that names the tensors or attributes that do not fit.
    """
    attributes = files.read_json(folder / "config.json", REMEDY)
    family = families.of(attributes, f"{folder}/config.json")
    paths = weight_files(folder)
    weights = _open_weights(paths)
    try:
        config, names = family.read(attributes, weights)
    except InputError as error:
        raise InputError(f"{folder / 'config.json'}: {error}") from None
    for name in names.keys() & weights.keys():
        transposed = is_transposed(names[name].path)
        weights[name] = weights[name]._replace(transposed=transposed)
    tensors.check(folder, config, names, weights)
    ours = {slot: weights[name] for name, slot in names.items()}
    return Checkpoint(config, ours, tuple(paths))


def weight_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Lists the safetensors files of a folder: one, or those of its index.

    Raises InputError for files that are missing, and for files of a second set.
    """
    present = {path.name for path in (*folder.glob(SINGLE), *folder.glob(SHARDS))}
    if (folder / INDEX).exists():
        names = _indexed(folder)
        if others := sorted(present - names):
            raise InputError(
                f"{folder} holds two sets of weights: {INDEX} names {len(names)} files "
                f"and not {others[0]}; remove the set that is not the model's"
            )
        return [folder / name for name in sorted(names)]
    if (folder / SINGLE).exists():
        if others := sorted(present - {SINGLE}):
            raise InputError(
                f"{folder} holds two sets of weights: {SINGLE}, and {others[0]} "
                f"without the {INDEX} of its set; remove the one that is not "
                "the model's"
            )
        return [folder / SINGLE]
    raise _no_weights(folder)


def _indexed(folder: pathlib.Path) -> set[str]:
    """Reads the names of the files that an index lists, all of them in the folder."""
    index = folder / INDEX
    weight_map = files.read_json(index, REMEDY).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(f"{index}: has no weight_map; it should name the files")
    names = {str(name) for name in weight_map.values()}
    missing = sorted(n for n in names if not (folder / n).is_file())
    outside = sorted(n for n in names if pathlib.PurePath(n).name != n)
    if outside or missing:
        raise InputError(
            f"{index} names files that are not in the folder: "
            f"{', '.join(outside or missing)}"
        )
    return names


def _no_weights(folder: pathlib.Path) -> InputError:
    pickles = [*sorted(folder.glob("*.bin")), *sorted(folder.glob("*.pt*"))]
    if not pickles:
        return InputError(f"{folder} has no {SINGLE} and no index of several")
    return InputError(
        f"{folder} has its weights as pickle ({pickles[0].name}), which can run code "
        "and is not read; convert it where torch and transformers are installed: "
        "AutoModel.from_pretrained(folder).save_pretrained(new_folder), with the "
        "class that config.json names under 'architectures', writes safetensors"
    )


def write_t5(folder: str | pathlib.Path, config: T5Config, params: Params) -> None:
    """Writes config.json and model.safetensors of a T5, as transformers reads them."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    leaves = tensors.by_path(jax.device_get(params))
    arrays = {}
    for name, slot in t5.tensor_names(config).items():
        leaf = np.asarray(tensors.at(leaves, slot))
        transposed = is_transposed(slot.path)
        arrays[name] = np.ascontiguousarray(leaf.T if transposed else leaf)
    dtype = str(arrays[t5.EMBEDDINGS[0]].dtype)
    text = json.dumps(t5.attributes(config, dtype), indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")
    safetensors_numpy.save_file(
        arrays, folder / "model.safetensors", metadata={"format": "pt"}
    )


def _open_weights(paths: list[pathlib.Path]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for path in paths:
        files.check_regular(path)
        try:
            with safetensors.safe_open(path, framework="np") as file:
                headers = {name: file.get_slice(name) for name in file.keys()}
                found = {
                    name: _tensor(path, name, header.get_shape(), header.get_dtype())
                    for name, header in headers.items()
                }
        except (safetensors.SafetensorError, OSError) as error:
            raise InputError(
                f"{path} is not a whole safetensors file: {error}"
            ) from error
        if twice := sorted(found.keys() & weights.keys()):
            raise InputError(f"{path}: the tensor {twice[0]} is in another file too")
        weights |= found
    return weights


def _tensor(path: pathlib.Path, name: str, shape: Sequence[int], stored: str) -> Tensor:
    def read(box: Box) -> np.ndarray:
        # Opened anew each time: pages of a mapped file count as memory till it closes.
        with safetensors.safe_open(path, framework="np") as file:
            return file.get_slice(name)[box]

    return Tensor(tuple(shape), DTYPES.get(stored, stored), read)


def is_transposed(path: str) -> bool:
    """Tells whether PyTorch keeps a leaf as [out, in] where our tree has [in, out]."""
    return path.rpartition("/")[2] not in ("embedding", "scale", "bias")
