"""Qwen3 (dense): a Llama that norms each head of queries and keys."""

import dataclasses
import functools

from dtvg_jax.formats.configs import Attributes
from dtvg_jax.formats.families import llama, qwen2
from dtvg_jax.formats.families.family import Family
from dtvg_jax.models.llama import LlamaConfig

# Where transformers' Qwen3Config has another value than its LlamaConfig.
DEFAULTS = qwen2.DEFAULTS | {"head_dim": 128}


def config(attributes: Attributes, vocabulary: int) -> LlamaConfig:
    """Reads the attributes of a Qwen3."""
    plain = llama.config(DEFAULTS | qwen2.full_attention(attributes), vocabulary)
    return dataclasses.replace(plain, qk_norm=True)


FAMILY = Family(
    ("qwen3",),
    functools.partial(llama.read, parse=config),
    functools.partial(llama.published, parse=config),
)
