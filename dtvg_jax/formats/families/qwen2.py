"""Qwen2 and Qwen2.5: a Llama with biases of query, key and value."""

import dataclasses
import functools

from dtvg_jax.errors import InputError
from dtvg_jax.formats.configs import Attributes
from dtvg_jax.formats.families import llama
from dtvg_jax.formats.families.family import Family
from dtvg_jax.models.llama import LlamaConfig

# Where transformers' Qwen2Config has another value than its LlamaConfig.
DEFAULTS = {"intermediate_size": 22016, "num_key_value_heads": 32}
# Attributes that mean nothing if no layer has a window.
WINDOWS = ("use_sliding_window", "sliding_window", "max_window_layers", "layer_types")


def config(attributes: Attributes, vocabulary: int) -> LlamaConfig:
    """Reads the attributes of a Qwen2."""
    plain = llama.config(DEFAULTS | full_attention(attributes), vocabulary)
    return dataclasses.replace(plain, qkv_bias=True)


def full_attention(attributes: Attributes) -> dict[str, object]:
    """Leaves out the attributes of sliding windows; raises InputError for a window."""
    kinds = attributes.get("layer_types") or []
    full = isinstance(kinds, list) and all(kind == "full_attention" for kind in kinds)
    if attributes.get("use_sliding_window") or not full:
        raise InputError(
            "use_sliding_window or layer_types gives layers a sliding window, which is "
            "not known here; known are layers that see everything"
        )
    return {k: v for k, v in attributes.items() if k not in WINDOWS}


FAMILY = Family(
    ("qwen2",),
    functools.partial(llama.read, parse=config),
    functools.partial(llama.published, parse=config),
)
