"""config.json of published models: understood, and of the published size."""

import dataclasses
import math
from typing import Any

import jax
import pytest

from dtvg_jax.formats import configs
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
    config = configs.t5_config(said, vocabulary=said["vocab_size"], gated=gated)
    assert config.scale_outputs == scaled
    assert config.activations == (("gelu", "linear") if gated else ("relu",))
    # Whether the head is tied is seen in the weights; scaled ones are.
    assert _count(dataclasses.replace(config, tied_head=scaled)) == count


@pytest.mark.parametrize(
    ("said", "factor", "count"),
    [(LLAMA_1B, 32.0, 1_235_814_400), (LLAMA_8B, 8.0, 8_030_261_248)],
)
def test_published_llamas(said: dict[str, Any], factor: float, count: int) -> None:
    config = configs.llama_config(said, vocabulary=said["vocab_size"])
    assert _count(config) == count
    assert (config.rope.kind, config.rope.theta) == ("llama3", 500000.0)
    assert (config.rope.factor, config.rms_norm_eps) == (factor, 1e-5)
    # transformers 5 writes one dict for both.
    new = said | {"rope_parameters": said["rope_scaling"] | {"rope_theta": 500000.0}}
    del new["rope_scaling"], new["rope_theta"]
    assert configs.llama_config(new, vocabulary=said["vocab_size"]) == config
