"""config.json of published models: understood, and of the published size."""

import dataclasses
import math
import types
from typing import Any

import jax
import pytest

from dtvg_jax.errors import InputError
from dtvg_jax.formats.families import BY_MODEL_TYPE, FAMILIES, llama, qwen2, qwen3, t5
from dtvg_jax.models import backbone

# As transformers 2 wrote it: little is said, and the head's input is scaled.
T5_SMALL = {
    "architectures": ["T5WithLMHeadModel"],
    "d_ff": 2048,
    "d_kv": 64,
    "d_model": 512,
    "decoder_start_token_id": 0,
    "dropout_rate": 0.1,
    "eos_token_id": 1,
    "initializer_factor": 1.0,
    "is_encoder_decoder": True,
    "layer_norm_epsilon": 1e-06,
    "model_type": "t5",
    "n_positions": 512,
    "num_heads": 8,
    "num_layers": 6,
    "output_past": True,
    "pad_token_id": 0,
    "relative_attention_num_buckets": 32,
    "task_specific_params": {"summarization": {"num_beams": 4, "prefix": "sum: "}},
    "vocab_size": 32128,
}
FLAN_BASE = {
    "architectures": ["T5ForConditionalGeneration"],
    "classifier_dropout": 0.0,
    "d_ff": 2048,
    "d_kv": 64,
    "d_model": 768,
    "decoder_start_token_id": 0,
    "dense_act_fn": "gelu_new",
    "dropout_rate": 0.1,
    "eos_token_id": 1,
    "feed_forward_proj": "gated-gelu",
    "initializer_factor": 1.0,
    "is_encoder_decoder": True,
    "is_gated_act": True,
    "layer_norm_epsilon": 1e-06,
    "model_type": "t5",
    "n_positions": 512,
    "num_decoder_layers": 12,
    "num_heads": 12,
    "num_layers": 12,
    "output_past": True,
    "pad_token_id": 0,
    "relative_attention_max_distance": 128,
    "relative_attention_num_buckets": 32,
    "tie_word_embeddings": False,
    "transformers_version": "4.23.1",
    "use_cache": True,
    "vocab_size": 32128,
}
SMALL = {"d_ff": 1024, "d_model": 512, "num_heads": 6}
SMALL |= {"num_layers": 8, "num_decoder_layers": 8}
LM_ADAPT_SMALL = FLAN_BASE | SMALL | {"_name_or_path": "google/t5-small-lm-adapt"}
MT5_SMALL = (
    FLAN_BASE
    | SMALL
    | {
        "_name_or_path": "google/mt5-small",
        "architectures": ["MT5ForConditionalGeneration"],
        "model_type": "mt5",
        "tie_encoder_decoder": False,
        "tokenizer_class": "T5Tokenizer",
        "vocab_size": 250112,
    }
)
ROPE = {
    "factor": 32.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
LLAMA_1B = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009],
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": ROPE,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.45.0.dev0",
    "use_cache": True,
    "vocab_size": 128256,
}
LLAMA_8B = LLAMA_1B | {
    "head_dim": None,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "rope_scaling": ROPE | {"factor": 8.0},
    "tie_word_embeddings": False,
}
QWEN2_5_500M = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    "hidden_act": "silu",
    "hidden_size": 896,
    "initializer_range": 0.02,
    "intermediate_size": 4864,
    "max_position_embeddings": 32768,
    "max_window_layers": 24,
    "model_type": "qwen2",
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.40.1",
    "use_cache": True,
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
QWEN3_600M = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "model_type": "qwen3",
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}


def _count(config: backbone.Config) -> int:
    shapes = jax.eval_shape(lambda: backbone.init_params(config, jax.random.key(0)))
    return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("said", "gated", "scaled", "count"),
    [
        (T5_SMALL, False, True, 60_506_624),
        (FLAN_BASE, True, False, 247_577_856),
        (LM_ADAPT_SMALL, True, False, 76_961_152),
        (MT5_SMALL, True, False, 300_176_768),
    ],
)
def test_published_t5s(
    said: dict[str, Any], gated: bool, scaled: bool, count: int
) -> None:
    config = t5.config(said, vocabulary=said["vocab_size"], gated=gated)
    assert config.scale_outputs == scaled
    assert config.activations == (("gelu", "linear") if gated else ("relu",))
    # Whether the head is tied is seen in the weights; scaled ones are.
    assert _count(dataclasses.replace(config, tied_head=scaled)) == count


@pytest.mark.parametrize(
    ("said", "factor", "count"),
    [(LLAMA_1B, 32.0, 1_235_814_400), (LLAMA_8B, 8.0, 8_030_261_248)],
)
def test_published_llamas(said: dict[str, Any], factor: float, count: int) -> None:
    config = llama.config(said, said["vocab_size"])
    assert _count(config) == count
    assert (config.rope.kind, config.rope.theta) == ("llama3", 500000.0)
    assert (config.rope.factor, config.rms_norm_eps) == (factor, 1e-5)
    # transformers 5 writes one dict for both.
    new = said | {"rope_parameters": said["rope_scaling"] | {"rope_theta": 500000.0}}
    del new["rope_scaling"], new["rope_theta"]
    assert llama.config(new, said["vocab_size"]) == config


@pytest.mark.parametrize(
    ("family", "said", "count"),
    [
        (qwen2, QWEN2_5_500M, 494_032_768),
        (qwen3, QWEN3_600M, 596_049_920),
    ],
)
def test_published_qwens(
    family: types.ModuleType, said: dict[str, Any], count: int
) -> None:
    config = family.config(said, said["vocab_size"])
    assert _count(config) == count
    assert (config.rope.theta, config.rope.kind) == (1e6, "default")
    # transformers 5 says it layer by layer.
    layers = ["full_attention"] * said["num_hidden_layers"]
    assert family.config(said | {"layer_types": layers}, said["vocab_size"]) == config


@pytest.mark.parametrize("family", [qwen2, qwen3])
@pytest.mark.parametrize(
    "window",
    [
        {"use_sliding_window": True, "sliding_window": 4096},
        {"layer_types": ["full_attention", "sliding_attention"]},
        {"layer_types": "sliding_attention"},
    ],
)
def test_windows_are_refused(family: types.ModuleType, window: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="gives layers a sliding window"):
        family.config(QWEN3_600M | window, 151936)


def test_each_type_of_model_belongs_to_one_family() -> None:
    kinds = [kind for family in FAMILIES for kind in family.model_types]
    assert kinds == ["t5", "mt5", "umt5", "llama", "qwen2", "qwen3"]
    assert list(BY_MODEL_TYPE) == kinds
