"""How much of the devices training uses: operations of the model, peaks, memory.

Model FLOPs utilisation (MFU) is what the backbone of a step has to compute, divided by
what the devices can compute in that time. Counted are its matrix products, a
multiplication and its sum being two operations:

forward: 2 for each token and each weight that it meets, 2 for each product in attention
backward: 2 for each such token and weight, 4 for each product in attention, of which
    both factors have gradients; a frozen weight has none

Tokens are real ones, prompts among them, and attention is to what a token may see.
Padding, layers that are computed again (remat), embedding, norms, prompt methods and
optimisers are not counted: MFU is low where they take long.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from dtvg_jax.models.backbone import Config
from dtvg_jax.models.llama import LlamaConfig
from dtvg_jax.models.t5_config import T5Config


class Peak(NamedTuple):
    """The operations per second of a device, by the type of the backbone's numbers."""

    bfloat16: float
    float32: float


# https://cloud.google.com/tpu/docs/v4, v5e, v5p and v6e; float32 is multiplied in the
# same time, as bfloat16, which is JAX's default there.
V4, V5E = Peak(275e12, 275e12), Peak(197e12, 197e12)
V5P, V6E = Peak(459e12, 459e12), Peak(918e12, 918e12)
# NVIDIA's data sheets, without sparsity; float32 is multiplied as TF32, JAX's default.
_HOPPER = Peak(989e12, 495e12)
# By JAX's name of a device, all of it: a part of a GPU (MIG) has another name.
_PEAKS = {
    r"TPU v4": V4,
    r"TPU v5( lite|e)": V5E,
    r"TPU v5p?": V5P,
    r"TPU v6( lite|e)": V6E,
    r"NVIDIA (H100 80GB HBM3|H200)": _HOPPER,
    r"NVIDIA A100[-\w ]*": Peak(312e12, 156e12),
    r"NVIDIA L4": Peak(121e12, 60e12),
}


class Prompted(NamedTuple):
    """A backbone with prompts of one length; `per_row`: each row has one of its own."""

    config: Config
    prompt_length: int
    per_row: bool = False


class RealRows(NamedTuple):
    """How many tokens the rows of a step have, and of which lanes they are."""

    inputs: Int[np.ndarray, " R"]
    targets: Int[np.ndarray, " R"]
    lanes: Int[np.ndarray, " R"]


class Multiplied(NamedTuple):
    """The multiplications of a forward pass: by weights, and in attention."""

    weights: int
    attention: int


def operations(model: Prompted, rows: RealRows) -> int:
    """Counts the operations of a step, forward and backward."""
    found = multiplied(model, rows)
    return (2 + 2) * found.weights + (2 + 4) * found.attention


def multiplied(model: Prompted, rows: RealRows) -> Multiplied:
    """Counts the multiplications of a step's forward pass."""
    match model.config:
        case T5Config():
            return _t5(model.config, model.prompt_length + rows.inputs, rows.targets)
        case LlamaConfig():
            # The prompt of a lane runs through the layers once for all its rows.
            prompts = len(rows.lanes if model.per_row else np.unique(rows.lanes))
            return _llama(model.config, model.prompt_length, prompts, rows)


def _t5(
    c: T5Config, encoded: Int[np.ndarray, " R"], targets: Int[np.ndarray, " R"]
) -> Multiplied:
    width = c.num_heads * c.d_kv
    matrix, mlp = c.d_model * width, (len(c.activations) + 1) * c.d_model * c.d_ff
    # In the decoder: queries, keys, values and output of its own positions, queries
    # and output of attention to the encoder, whose keys and values are of its output.
    weights = c.num_layers * (4 * matrix + mlp) * encoded
    weights += c.num_decoder_layers * ((6 * matrix + mlp) * targets)
    weights += c.num_decoder_layers * 2 * matrix * encoded
    weights += c.d_model * c.vocab_size * targets
    pairs = c.num_layers * encoded**2
    pairs += c.num_decoder_layers * (_earlier(targets) + targets * encoded)
    return Multiplied(int(weights.sum()), int(2 * width * pairs.sum()))


def _llama(c: LlamaConfig, length: int, prompts: int, rows: RealRows) -> Multiplied:
    # The last target is not read.
    tokens = rows.inputs + rows.targets - 1
    queries = c.num_attention_heads * c.head_dim
    heads = queries + c.num_key_value_heads * c.head_dim
    layer = c.hidden_size * (2 * heads + 3 * c.intermediate_size)
    weights = c.num_hidden_layers * layer * (tokens.sum() + prompts * length)
    weights += c.hidden_size * c.vocab_size * rows.targets.sum()
    pairs = (_earlier(tokens) + tokens * length).sum() + prompts * _earlier(length)
    return Multiplied(int(weights), int(2 * queries * c.num_hidden_layers * pairs))


def _earlier(count: Any) -> Any:  # a number, or an array of them
    """Counts the pairs of a position and one that it sees: those before, and itself."""
    return count * (count + 1) // 2


def peak(devices: Iterable[Any], dtype: str) -> float | None:
    """Gives the operations per second of devices; None if any of them is not known."""
    kinds = [device.device_kind for device in devices]
    found = [
        getattr(one, dtype)
        for kind in kinds
        for pattern, one in _PEAKS.items()
        if re.fullmatch(pattern, kind)
    ]
    return sum(found) if len(found) == len(kinds) else None


def memory_gb(devices: Iterable[Any]) -> float | None:
    """Gives the most that any device has held so far; None if none says, as a CPU."""
    stats = [device.memory_stats() or {} for device in devices]
    most = [one["peak_bytes_in_use"] for one in stats if "peak_bytes_in_use" in one]
    return max(most) / 1e9 if most else None
