"""Llama 2 to 3.2 and any plain LlamaForCausalLM."""

from collections.abc import Callable

from dtvg_jax.errors import InputError, shown
from dtvg_jax.formats import configs, tensors
from dtvg_jax.formats.configs import Attributes, Reader
from dtvg_jax.formats.families.family import HEAD, QKVO, Family, Weights, one_embedding
from dtvg_jax.formats.tensors import Slot
from dtvg_jax.models.backbone import Config
from dtvg_jax.models.llama import LlamaConfig, Rope

EMBEDDING = "model.embed_tokens.weight"
# Left over from old code, used by no model.
LEFTOVER = "rotary_emb.inv_freq"
FIXED = configs.FIXED | {
    "is_encoder_decoder": False,
    "hidden_act": "silu",
    "is_llama_config": True,
    "pretraining_tp": 1,
    "rope_interleaved": False,
}
MLP = {"gate": "wi_0", "up": "wi_1", "down": "wo"}


def config(attributes: Attributes, vocabulary: int) -> LlamaConfig:
    """Reads a Llama's attributes; `vocabulary` rows are a fact of the weights."""
    a = Reader(attributes, FIXED)
    a.take("vocab_size", int, vocabulary)
    hidden = a.take("hidden_size", int, 4096)
    heads = a.take("num_attention_heads", int, 32)
    biases = a.take("attention_bias", bool, False)
    made = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=a.take("intermediate_size", int, 11008),
        num_hidden_layers=a.take("num_hidden_layers", int, 32),
        num_attention_heads=heads,
        num_key_value_heads=a.take("num_key_value_heads", int, heads),
        head_dim=a.take("head_dim", int, hidden // max(heads, 1)),
        rms_norm_eps=a.take("rms_norm_eps", float, 1e-6),
        rope=_rope(a),
        tied_head=a.take("tie_word_embeddings", bool, False),
        qkv_bias=biases,
        out_bias=biases,
        mlp_bias=a.take("mlp_bias", bool, False),
        dropout_rate=a.take("attention_dropout", float, 0.0),
    )
    a.finish(made)
    if heads % made.num_key_value_heads:
        raise InputError(
            f"{heads} attention heads cannot share {made.num_key_value_heads} "
            "key/value heads evenly"
        )
    if made.head_dim % 2:
        raise InputError(f"head_dim is {made.head_dim}; rotary positions need pairs")
    return made


def tensor_names(config: LlamaConfig) -> dict[str, Slot]:
    """Maps each Hugging Face tensor name of a Llama to its place in our tree."""
    names = {
        EMBEDDING: Slot("token_embedder/embedding"),
        "model.norm.weight": Slot("decoder_norm/scale"),
    }
    if not config.tied_head:
        names[HEAD] = Slot("logits_dense/kernel")
    for theirs, ours in _layer_names(config).items():
        for i in range(config.num_hidden_layers):
            names[f"model.layers.{i}.{theirs}"] = Slot(f"layers/{ours}", i)
    return names


def _layer_names(config: LlamaConfig) -> dict[str, str]:
    names = {
        "input_layernorm.weight": "pre_attention_layer_norm/scale",
        "post_attention_layernorm.weight": "pre_mlp_layer_norm/scale",
    }
    for part in QKVO:
        name, path = f"self_attn.{part[0]}", f"attention/{part}"
        names[f"{name}_proj.weight"] = f"{path}/kernel"
        if config.out_bias if part == "out" else config.qkv_bias:
            names[f"{name}_proj.bias"] = f"{path}/bias"
        if config.qk_norm and part in ("query", "key"):
            names[f"{name}_norm.weight"] = f"{path}_norm/scale"
    for their, our in MLP.items():
        name, path = f"mlp.{their}_proj", f"mlp/{our}"
        names[f"{name}.weight"] = f"{path}/kernel"
        if config.mlp_bias:
            names[f"{name}.bias"] = f"{path}/bias"
    return names


def read(
    attributes: Attributes,
    weights: Weights,
    parse: Callable[[Attributes, int], LlamaConfig] = config,
) -> tuple[Config, dict[str, Slot]]:
    """Reads the config of a Llama, or with `parse` that of a similar family."""
    for name in [name for name in weights if name.endswith(LEFTOVER)]:
        del weights[name]
    embedding = one_embedding(weights, (EMBEDDING,))
    found = parse(attributes, embedding.shape[0])
    if found.tied_head and HEAD in weights:
        if not tensors.same(weights.pop(HEAD), embedding):
            raise InputError(
                f"tie_word_embeddings is true, but the tensor {HEAD} differs from "
                f"{EMBEDDING}; one of them is wrong"
            )
    return found, tensor_names(found)


def published(
    attributes: Attributes,
    parse: Callable[[Attributes, int], LlamaConfig] = config,
) -> LlamaConfig:
    """Reads the config of a published model from its attributes alone."""
    vocabulary = Reader(attributes, FIXED).take("vocab_size", int, 32000)
    return parse(attributes, vocabulary)


def _rope(a: Reader) -> Rope:
    """Reads `rope_parameters` (new files) or `rope_theta` and `rope_scaling` (old)."""
    theta = a.take("rope_theta", float, 10000.0)
    scaling = a.take("rope_scaling", dict, {}) | a.take("rope_parameters", dict, {})
    old, kind = scaling.pop("type", None), scaling.pop("rope_type", None)
    r = Reader(scaling, {"partial_rotary_factor": 1.0})
    theta = r.take("rope_theta", float, theta)
    kind = kind or old or "default"
    if kind not in ("default", "linear", "llama3"):
        raise InputError(
            f"rope scaling of type {shown(kind)} is not known here; known are default, "
            "linear and llama3"
        )
    rope = Rope(theta, kind)
    if kind == "linear":
        rope = Rope(theta, kind, r.take("factor", float, 1.0))
    if kind == "llama3":
        rope = Rope(
            theta,
            kind,
            r.take("factor", float, 8.0),
            r.take("low_freq_factor", float, 1.0),
            r.take("high_freq_factor", float, 4.0),
            r.take("original_max_position_embeddings", int, 8192),
        )
    if rope.high_freq_factor <= rope.low_freq_factor:
        raise InputError(
            f"rope scaling has high_freq_factor {rope.high_freq_factor}, which should "
            f"be more than low_freq_factor, {rope.low_freq_factor}"
        )
    return r.finish(rope)


FAMILY = Family(("llama",), read, published)
