"""config.json of a Hugging Face folder to the config of a backbone.

Every attribute is handled, known to change nothing here, or refused.
"""

from collections.abc import Mapping
from typing import Any

from dtvg_jax.errors import InputError
from dtvg_jax.models.llama import LlamaConfig, Rope
from dtvg_jax.models.t5 import T5Config

Attributes = Mapping[str, Any]

T5_TYPES = ("t5", "mt5", "umt5")
# Of the library, of text generation (we decode greedily) and of classifiers.
IRRELEVANT = frozenset(
    """
    _commit_hash _name_or_path _attn_implementation _attn_implementation_autoset
    architectures attn_implementation auto_map dtype torch_dtype transformers_version
    transformers.js_config gradient_checkpointing initializer_factor initializer_range
    max_position_embeddings model_type n_positions output_past problem_type
    task_specific_params tokenizer_class use_cache license
    bad_words_ids begin_suppress_tokens bos_token_id decoder_start_token_id
    diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size
    eos_token_id exponential_decay_length_penalty forced_bos_token_id
    forced_eos_token_id length_penalty
    max_length max_new_tokens min_length no_repeat_ngram_size num_beam_groups num_beams
    num_return_sequences output_scores pad_token_id prefix remove_invalid_values
    repetition_penalty return_dict_in_generate sep_token_id suppress_tokens temperature
    top_k top_p typical_p return_dict torchscript
    classifier_dropout finetuning_task id2label label2id num_labels
    unsloth_fixed unsloth_version
    """.split()
)
# Would change the model; known only at the value it has when nothing is said.
FIXED = {
    "add_cross_attention": False,
    "chunk_size_feed_forward": 0,
    "cross_attention_hidden_size": None,
    "is_decoder": False,
    "output_attentions": False,
    "output_hidden_states": False,
    "pruned_heads": {},
    "quantization_config": None,
    "tf_legacy_loss": False,
    "tie_encoder_decoder": False,
    "use_bfloat16": False,
}
T5_FIXED = FIXED | {"is_encoder_decoder": True, "scalable_attention": True}
LLAMA_FIXED = FIXED | {
    "is_encoder_decoder": False,
    "hidden_act": "silu",
    "is_llama_config": True,
    "pretraining_tp": 1,
    "rope_interleaved": False,
}
# feed_forward_proj -> our activations, the name torch has for the first.
FEED_FORWARD = {
    "relu": (("relu",), "relu"),
    "gated-gelu": (("gelu", "linear"), "gelu_new"),
    "gated-silu": (("silu", "linear"), "silu"),
}


def t5_config(attributes: Attributes, *, vocabulary: int, gated: bool) -> T5Config:
    """Reads a T5's attributes; the head is said to be tied until the weights are seen.

    `vocabulary` rows and whether the feed-forward is `gated` are facts of the weights:
    old files give other values (a resized vocabulary, "gelu" for "gated-gelu").
    """
    a = _Reader(attributes, T5_FIXED)
    a.take("vocab_size", int, vocabulary)
    layers = a.take("num_layers", int, 6)
    tied = a.take("tie_word_embeddings", bool, True)
    scaled = a.take("scale_decoder_outputs", bool, tied)
    config = T5Config(
        vocab_size=vocabulary,
        d_model=a.take("d_model", int, 512),
        d_kv=a.take("d_kv", int, 64),
        num_heads=a.take("num_heads", int, 8),
        d_ff=a.take("d_ff", int, 2048),
        num_layers=layers,
        num_decoder_layers=a.take("num_decoder_layers", int, layers),
        activations=_t5_activations(a, gated),
        tied_head=True,
        scale_outputs=scaled and attributes.get("model_type") != "mt5",
        relative_attention_num_buckets=a.take(
            "relative_attention_num_buckets", int, 32
        ),
        relative_attention_max_distance=a.take(
            "relative_attention_max_distance", int, 128
        ),
        layer_norm_epsilon=a.take("layer_norm_epsilon", float, 1e-6),
        dropout_rate=a.take("dropout_rate", float, 0.1),
        decoder_start_id=a.take("decoder_start_token_id", int, 0),
    )
    a.finish()
    return config


def t5_attributes(config: T5Config, dtype: str) -> dict[str, Any]:
    """Gives the config.json of a T5 whose weights are of `dtype`."""
    proj = {ours: name for name, (ours, _) in FEED_FORWARD.items()}
    kind = "umt5" if config.bias_per_layer else "t5"
    return {
        "architectures": [f"{kind.upper()}ForConditionalGeneration"],
        "model_type": kind,
        "vocab_size": config.vocab_size,
        "d_model": config.d_model,
        "d_kv": config.d_kv,
        "d_ff": config.d_ff,
        "num_heads": config.num_heads,
        "num_layers": config.num_layers,
        "num_decoder_layers": config.num_decoder_layers,
        "feed_forward_proj": proj[config.activations],
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
        "torch_dtype": dtype,
    }


def llama_config(attributes: Attributes, *, vocabulary: int) -> LlamaConfig:
    """Reads a Llama's attributes; `vocabulary` rows are a fact of the weights."""
    a = _Reader(attributes, LLAMA_FIXED)
    a.take("vocab_size", int, vocabulary)
    hidden = a.take("hidden_size", int, 4096)
    heads = a.take("num_attention_heads", int, 32)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=a.take("intermediate_size", int, 11008),
        num_hidden_layers=a.take("num_hidden_layers", int, 32),
        num_attention_heads=heads,
        num_key_value_heads=a.take("num_key_value_heads", int, heads),
        head_dim=a.take("head_dim", int, hidden // heads),
        rms_norm_eps=a.take("rms_norm_eps", float, 1e-6),
        rope=_rope(a),
        tied_head=a.take("tie_word_embeddings", bool, False),
        attention_bias=a.take("attention_bias", bool, False),
        mlp_bias=a.take("mlp_bias", bool, False),
        dropout_rate=a.take("attention_dropout", float, 0.0),
    )
    a.finish()
    if heads % config.num_key_value_heads:
        raise InputError(
            f"config.json: {heads} attention heads cannot share "
            f"{config.num_key_value_heads} key/value heads evenly."
        )
    return config


class _Reader:
    """Attributes that remember what was taken, so that the rest can be judged."""

    def __init__(self, attributes: Attributes, fixed: Attributes) -> None:
        self.left, self.fixed = dict(attributes), fixed

    def take(self, name: str, kind: type, default: Any) -> Any:
        value = self.left.pop(name, None)
        if value is None:
            return default
        good = isinstance(value, (int, float) if kind is float else kind)
        if not good or (kind is not bool and isinstance(value, bool)):
            raise InputError(
                f"config.json: '{name}' should be of type {kind.__name__}, "
                f"not {value!r}."
            )
        if kind is int and value < (0 if name.endswith("_id") else 1):
            raise InputError(f"config.json: '{name}' should not be {value!r}.")
        return kind(value)

    def finish(self) -> None:
        """Refuses what would change the model and what is not known."""
        for name, value in self.left.items():
            if name in self.fixed:
                if value is not None and value != self.fixed[name]:
                    raise InputError(
                        f"config.json: '{name}' is {value!r}; this program only knows "
                        f"{self.fixed[name]!r}."
                    )
            elif name not in IRRELEVANT:
                raise InputError(
                    f"config.json: the attribute '{name}' (value {value!r}) is not "
                    "known here and might change the model; remove it if it does not."
                )


def _t5_activations(a: _Reader, gated: bool) -> tuple[str, ...]:
    said = a.take("feed_forward_proj", str, "relu")
    name = "gated-" + said.removeprefix("gated-") if gated else said
    if name not in FEED_FORWARD or gated != name.startswith("gated-"):
        raise InputError(
            f"config.json: feed_forward_proj is {said!r} and the weights "
            f"{'have' if gated else 'lack'} the gate wi_1; known are "
            f"{', '.join(FEED_FORWARD)}."
        )
    activations, torch_name = FEED_FORWARD[name]
    a.take("is_gated_act", bool, gated)  # False in old files; the weights decide.
    derived = a.take("dense_act_fn", str, torch_name)
    if derived not in (torch_name, said):
        raise InputError(
            f"config.json: dense_act_fn is {derived!r}; with feed_forward_proj "
            f"{said!r} it should be {torch_name!r}."
        )
    return activations


def _rope(a: _Reader) -> Rope:
    """Reads `rope_parameters` (new files) or `rope_theta` and `rope_scaling` (old)."""
    theta = a.take("rope_theta", float, 10000.0)
    said = a.take("rope_scaling", dict, {}) | a.take("rope_parameters", dict, {})
    old, kind = said.pop("type", None), said.pop("rope_type", None)
    r = _Reader(said, {"partial_rotary_factor": 1.0})
    theta = r.take("rope_theta", float, theta)
    kind = kind or old or "default"
    if kind not in ("default", "linear", "llama3"):
        raise InputError(
            f"config.json: rope scaling of type {kind!r} is not known here; known are "
            "default, linear and llama3."
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
    r.finish()
    return rope
