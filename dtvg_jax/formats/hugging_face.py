"""Hugging Face folders: config.json and safetensors, to and from parameter trees.

Reading is strict: every tensor is used, every parameter filled, every attribute of the
config understood, or nothing is loaded.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import safetensors
from flax import traverse_util
from safetensors import numpy as safetensors_numpy

from dtvg_jax.errors import InputError
from dtvg_jax.formats import configs, tensors
from dtvg_jax.formats.tensors import Box, Checkpoint, Shardings, Tensor
from dtvg_jax.models import backbone, llama, t5
from dtvg_jax.shapes import Params

QKVO = ("query", "key", "value", "out")
# The embedding has several names in T5 files; the first of those there are is used
# and the others must be equal to it.
T5_EMBEDDINGS = (
    "shared.weight",
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
)
LLAMA_EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
T5_BIAS = "layer.0.SelfAttention.relative_attention_bias.weight"
# Left over from old code, used by no model.
T5_IGNORED = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
LLAMA_IGNORED = "rotary_emb.inv_freq"
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
}


def read(
    folder: pathlib.Path, dtype: str, shardings: Shardings | None = None
) -> tuple[backbone.Config, Params, str]:
    """Reads config, parameters and digest of a T5 or Llama folder.

    The digest is the sha256 of config.json and the weight files.  Raises InputError,
    naming the tensors or attributes that do not fit.
    """
    checkpoint = open_checkpoint(folder)
    return checkpoint.config, checkpoint.params(dtype, shardings), checkpoint.digest()


def open_checkpoint(folder: pathlib.Path) -> Checkpoint:
    """Opens a T5 or Llama folder and holds config and weights against each other."""
    attributes = read_json(folder / "config.json")
    kind = attributes.get("model_type")
    if kind not in (*configs.T5_TYPES, "llama"):
        raise InputError(
            f"{folder}/config.json: model_type is {kind!r}; known are "
            f"{', '.join(configs.T5_TYPES)}, llama."
        )
    files = weight_files(folder)
    weights = _open_weights(files)
    config, names = (_llama if kind == "llama" else _t5)(attributes, weights)
    for name in names.keys() & weights.keys():
        turned = not _as_is(names[name])
        weights[name] = weights[name]._replace(turned=turned)
    tensors.check(folder, config, names, weights)
    ours = {path: weights[name] for name, path in names.items()}
    return Checkpoint(config, ours, (folder / "config.json", *files))


def weight_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Lists the safetensors files of a folder: one, or those of its index."""
    single, index = (
        folder / "model.safetensors",
        folder / "model.safetensors.index.json",
    )
    if index.is_file():
        names = set(read_json(index).get("weight_map", {}).values())
        if not names:
            raise InputError(f"{index}: has no weight_map; it should name the files.")
        missing = sorted(n for n in names if not (folder / n).is_file())
        outside = sorted(n for n in names if pathlib.PurePath(n).name != n)
        if outside or missing:
            raise InputError(
                f"{index} names files that are not in the folder: "
                f"{', '.join(outside or missing)}."
            )
        return [folder / name for name in sorted(names)]
    if single.is_file():
        return [single]
    pickles = sorted(p.name for p in folder.glob("*.bin")) + sorted(
        p.name for p in folder.glob("*.pt*")
    )
    if pickles:
        raise InputError(
            f"{folder} has its weights as pickle ({pickles[0]}), which can run code "
            "and is not read. Convert it where torch and transformers are installed: "
            "AutoModel.from_pretrained(folder).save_pretrained(new_folder), with the "
            "class that config.json names under 'architectures', writes safetensors."
        )
    raise InputError(f"{folder} has no model.safetensors and no index of several.")


def t5_names(config: t5.T5Config) -> dict[str, str]:
    """Maps each Hugging Face tensor name of a T5 to its path in our tree."""
    names = {T5_EMBEDDINGS[0]: "token_embedder/embedding"}
    if not config.tied_head:
        names[HEAD] = "decoder/logits_dense/kernel"
    gated = len(config.activations) == 2
    mlp = ("wi_0", "wi_1", "wo") if gated else ("wi", "wo")
    encoder = {"SelfAttention": "attention"}
    decoder = {
        "SelfAttention": "self_attention",
        "EncDecAttention": "encoder_decoder_attention",
    }
    for stack, layers, attentions in (
        ("encoder", config.num_layers, encoder),
        ("decoder", config.num_decoder_layers, decoder),
    ):
        names[f"{stack}.final_layer_norm.weight"] = f"{stack}/{stack}_norm/scale"
        for i in range(layers if config.bias_per_layer else 1):
            ours = f"{stack}/layers_{i}" if config.bias_per_layer else stack
            names[f"{stack}.block.{i}.{T5_BIAS}"] = f"{ours}/relpos_bias/rel_embedding"
        for i in range(layers):
            ours = f"{stack}/layers_{i}"
            for j, (theirs, name) in enumerate(attentions.items()):
                block = f"{stack}.block.{i}.layer.{j}"
                norm = name.replace("encoder_decoder", "cross")
                names[f"{block}.layer_norm.weight"] = (
                    f"{ours}/pre_{norm}_layer_norm/scale"
                )
                for letter, part in zip("qkvo", QKVO, strict=True):
                    path = f"{ours}/{name}/{part}/kernel"
                    names[f"{block}.{theirs}.{letter}.weight"] = path
            block = f"{stack}.block.{i}.layer.{len(attentions)}"
            names[f"{block}.layer_norm.weight"] = f"{ours}/pre_mlp_layer_norm/scale"
            for part in mlp:
                path = f"{ours}/mlp/{part}/kernel"
                names[f"{block}.DenseReluDense.{part}.weight"] = path
    return names


def llama_names(config: llama.LlamaConfig) -> dict[str, str]:
    """Maps each Hugging Face tensor name of a Llama to its path in our tree."""
    names = {
        LLAMA_EMBEDDING: "token_embedder/embedding",
        "model.norm.weight": "decoder_norm/scale",
    }
    if not config.tied_head:
        names[HEAD] = "logits_dense/kernel"
    for i in range(config.num_hidden_layers):
        ours, theirs = f"layers_{i}", f"model.layers.{i}"
        names[f"{theirs}.input_layernorm.weight"] = (
            f"{ours}/pre_attention_layer_norm/scale"
        )
        names[f"{theirs}.post_attention_layernorm.weight"] = (
            f"{ours}/pre_mlp_layer_norm/scale"
        )
        parts = {f"self_attn.{p[0]}_proj": f"attention/{p}" for p in QKVO}
        mlp = {"gate": "wi_0", "up": "wi_1", "down": "wo"}
        parts |= {f"mlp.{p}_proj": f"mlp/{our}" for p, our in mlp.items()}
        for their, our in parts.items():
            names[f"{theirs}.{their}.weight"] = f"{ours}/{our}/kernel"
            if config.mlp_bias if "mlp" in our else config.attention_bias:
                names[f"{theirs}.{their}.bias"] = f"{ours}/{our}/bias"
    return names


def write_t5(folder: str | pathlib.Path, config: t5.T5Config, params: Params) -> None:
    """Writes config.json and model.safetensors of a T5, as transformers reads them."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    leaves = traverse_util.flatten_dict(jax.device_get(params), sep="/")
    arrays = {}
    for name, path in t5_names(config).items():
        arrays[name] = np.ascontiguousarray(_turn(path, np.asarray(leaves.pop(path))))
    if leaves:
        raise ValueError(f"parameters that this T5 does not have: {sorted(leaves)}")
    dtype = str(arrays[T5_EMBEDDINGS[0]].dtype)
    text = json.dumps(configs.t5_attributes(config, dtype), indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")
    safetensors_numpy.save_file(
        arrays, folder / "model.safetensors", metadata={"format": "pt"}
    )


def _open_weights(files: list[pathlib.Path]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for path in files:
        try:
            with safetensors.safe_open(path, framework="np") as file:
                found = {
                    name: _tensor(path, name, file.get_slice(name))
                    for name in file.keys()
                }
        except (safetensors.SafetensorError, OSError) as error:
            raise InputError(
                f"{path} is not a whole safetensors file: {error}."
            ) from error
        if twice := sorted(found.keys() & weights.keys()):
            raise InputError(f"{path}: the tensor {twice[0]} is in another file too.")
        weights |= found
    return weights


def _tensor(path: pathlib.Path, name: str, header: Any) -> Tensor:
    def read(box: Box) -> np.ndarray:
        # Opened anew each time: pages of a mapped file count as memory till it closes.
        with safetensors.safe_open(path, framework="np") as file:
            return file.get_slice(name)[box]

    stored = header.get_dtype()
    dtype = DTYPES.get(stored) or str(stored)
    return Tensor(tuple(header.get_shape()), dtype, read)


def _t5(
    attributes: Mapping[str, Any], weights: dict[str, Tensor]
) -> tuple[t5.T5Config, dict[str, str]]:
    weights.pop(T5_IGNORED, None)
    embedding = _one_embedding(weights, T5_EMBEDDINGS)
    gated = any(name.endswith(".DenseReluDense.wi_1.weight") for name in weights)
    config = configs.t5_config(attributes, vocabulary=embedding.shape[0], gated=gated)
    if any(n.endswith(T5_BIAS) and ".block.0." not in n for n in weights):
        config = dataclasses.replace(config, bias_per_layer=True)
    # The flag cannot be trusted: version 5 of transformers says "tied" of all T5s.
    if HEAD in weights and not tensors.same(weights[HEAD], embedding):
        config = dataclasses.replace(config, tied_head=False)
    else:
        weights.pop(HEAD, None)
    return config, t5_names(config)


def _llama(
    attributes: Mapping[str, Any], weights: dict[str, Tensor]
) -> tuple[llama.LlamaConfig, dict[str, str]]:
    for name in [name for name in weights if name.endswith(LLAMA_IGNORED)]:
        del weights[name]
    embedding = _one_embedding(weights, (LLAMA_EMBEDDING,))
    config = configs.llama_config(attributes, vocabulary=embedding.shape[0])
    if config.tied_head and HEAD in weights:
        if not tensors.same(weights.pop(HEAD), embedding):
            raise InputError(
                f"config.json has tie_word_embeddings true, but the tensor {HEAD} "
                f"differs from {LLAMA_EMBEDDING}; one of them is wrong."
            )
    return config, llama_names(config)


def _one_embedding(weights: dict[str, Tensor], names: tuple[str, ...]) -> Tensor:
    """Leaves one of the embedding's names, the first, in `weights`."""
    there = [name for name in names if name in weights]
    if not there:
        raise InputError(f"the weights have no embedding, a tensor named {names[0]}.")
    first = weights[there[0]]
    for name in there:
        if not tensors.same(weights.pop(name), first):
            raise InputError(
                f"the tensors {there[0]} and {name} should be equal, both are the "
                "embedding, but they differ."
            )
    weights[names[0]] = first
    return first


def _turn(path: str, array: np.ndarray) -> np.ndarray:
    """Turns a torch matrix (out, in) into ours (in, out), or back."""
    return array if _as_is(path) else array.T


def _as_is(path: str) -> bool:
    return path.rpartition("/")[2] in ("embedding", "scale", "bias")


def read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{path} does not exist; a backbone is a Hugging Face folder with "
            "config.json, safetensors and a vocabulary."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} should hold a JSON object.")
    return value
