"""Hugging Face folders: config.json and safetensors, to and from parameter trees."""

import json
import pathlib
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from safetensors import numpy as safetensors

from dtvg_jax.backbones import t5
from dtvg_jax.shapes import Params

# Ours is the transpose of a torch Linear or of the position table; norms and the
# embedding are as they are.
AS_IS = ("embedding", "scale", "bias")


def t5_names(config: t5.T5Config) -> dict[str, str]:
    """Maps each Hugging Face tensor name of a T5 to its path in our tree."""
    names = {"shared.weight": "token_embedder/embedding"}
    if not config.tied_head:
        names["lm_head.weight"] = "decoder/logits_dense/kernel"
    mlp = {"wi": "wi"} if len(config.activations) == 1 else {"wi_0": "wi_0"}
    mlp |= {"wo": "wo"} if len(config.activations) == 1 else {"wi_1": "wi_1"}
    mlp["wo"] = "wo"
    encoder = [("SelfAttention", "attention")]
    decoder = [
        ("SelfAttention", "self_attention"),
        ("EncDecAttention", "encoder_decoder_attention"),
    ]
    for stack, layers, attentions in (
        ("encoder", config.num_layers, encoder),
        ("decoder", config.num_decoder_layers, decoder),
    ):
        names[f"{stack}.final_layer_norm.weight"] = f"{stack}/{stack}_norm/scale"
        bias = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        names[f"{stack}.{bias}"] = f"{stack}/relpos_bias/rel_embedding"
        for i in range(layers):
            ours, theirs = f"{stack}/layers_{i}", f"{stack}.block.{i}.layer"
            for j, (attention, name) in enumerate(attentions):
                norm = name.replace("encoder_decoder", "cross")
                names[f"{theirs}.{j}.layer_norm.weight"] = (
                    f"{ours}/pre_{norm}_layer_norm/scale"
                )
                for letter, part in zip("qkvo", QKVO, strict=True):
                    names[f"{theirs}.{j}.{attention}.{letter}.weight"] = (
                        f"{ours}/{name}/{part}/kernel"
                    )
            last = len(attentions)
            names[f"{theirs}.{last}.layer_norm.weight"] = (
                f"{ours}/pre_mlp_layer_norm/scale"
            )
            for their, our in mlp.items():
                names[f"{theirs}.{last}.DenseReluDense.{their}.weight"] = (
                    f"{ours}/mlp/{our}/kernel"
                )
    return names


QKVO = ("query", "key", "value", "out")


def write_t5(folder: str | pathlib.Path, config: t5.T5Config, params: Params) -> None:
    """Writes config.json and model.safetensors of a T5, as transformers reads them."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    leaves = traverse_util.flatten_dict(jax.device_get(params), sep="/")
    tensors = {}
    for name, path in t5_names(config).items():
        array = np.asarray(leaves.pop(path))
        if path.rpartition("/")[2] not in AS_IS:
            array = array.T
        tensors[name] = np.ascontiguousarray(array)
    if leaves:
        raise ValueError(f"parameters that T5 does not have: {sorted(leaves)}")
    text = json.dumps(_t5_attributes(config, str(array.dtype)), indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")
    safetensors.save_file(
        tensors, folder / "model.safetensors", metadata={"format": "pt"}
    )


def _t5_attributes(config: t5.T5Config, dtype: str) -> dict[str, Any]:
    feed_forward = {
        ("relu",): "relu",
        ("gelu", "linear"): "gated-gelu",
        ("silu", "linear"): "gated-silu",
    }
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "vocab_size": config.vocab_size,
        "d_model": config.d_model,
        "d_kv": config.d_kv,
        "d_ff": config.d_ff,
        "num_heads": config.num_heads,
        "num_layers": config.num_layers,
        "num_decoder_layers": config.num_decoder_layers,
        "feed_forward_proj": feed_forward[config.activations],
        "relative_attention_num_buckets": config.relative_attention_num_buckets,
        "relative_attention_max_distance": config.relative_attention_max_distance,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "dropout_rate": config.dropout_rate,
        "is_encoder_decoder": True,
        # Version 4 of transformers reads the first of these two, version 5 the second.
        "tie_word_embeddings": config.tied_head,
        "scale_decoder_outputs": config.scale_outputs,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": config.decoder_start_id,
        "dtype": dtype,
        "torch_dtype": dtype,
    }
