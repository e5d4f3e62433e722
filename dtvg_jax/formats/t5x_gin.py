"""Converts a T5X config.gin to attributes of a config.json, and a config to gin.

The statements are parsed, never executed: a gin file can import and call anything.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.files import JsonObject
from dtvg_jax.models.t5_config import T5Config
from gin import config_parser

# Arguments of T5X's network.T5Config, by Hugging Face's names, with T5X's defaults.
NAMES: dict[str, tuple[str, object]] = {
    "vocab_size": ("vocab_size", None),
    "emb_dim": ("d_model", 512),
    "num_heads": ("num_heads", 8),
    "num_encoder_layers": ("num_layers", 6),
    "num_decoder_layers": ("num_decoder_layers", 6),
    "head_dim": ("d_kv", 64),
    "mlp_dim": ("d_ff", 2048),
    "mlp_activations": ("feed_forward_proj", ("relu",)),
    "dropout_rate": ("dropout_rate", 0.1),
    "logits_via_embedding": ("scale_decoder_outputs", False),
    "num_buckets": ("relative_attention_num_buckets", 32),
    "max_distance": ("relative_attention_max_distance", 128),
}
# Arguments that early versions of T5X do not know.
LATER = ("num_buckets", "max_distance")
# Arguments on how the network is computed or sharded, not on what it computes.
IRRELEVANT = frozenset(
    """
    dtype float32_attention_logits remat_policy scan_layers param_scan_axis
    """.split()
)
FEED_FORWARD = {
    ("relu",): "relu",
    ("gelu", "linear"): "gated-gelu",
    ("silu", "linear"): "gated-silu",
    ("swish", "linear"): "gated-silu",
}
INSTEAD = "put a config.json with the model's attributes beside it"


class _Named(str):
    """A reference (@name) or a macro (%name) that was met as a value."""


class _Delegate(config_parser.ParserDelegate):
    """Keeps references as their names; gin declares both methods to return None."""

    def configurable_reference(
        self, scoped_configurable_name: str, evaluate: bool
    ) -> Any:
        del evaluate
        return _Named(f"@{scoped_configurable_name}")

    def macro(self, macro_name: str) -> Any:
        return _Named(f"%{macro_name}")


def attributes(path: pathlib.Path) -> JsonObject:
    """Reads the file's bindings of `T5Config` as attributes of a config.json.

    Raises InputError for a file that is incomplete or binds an unknown argument.
    """
    bound: JsonObject = {}
    macros: JsonObject = {}
    for statement in _statements(path):
        if isinstance(statement, config_parser.IncludeStatement):
            raise InputError(
                f"{path} includes {statement.filename}: give the whole configuration, "
                f"as T5X writes it beside its checkpoints, or {INSTEAD}"
            )
        if not isinstance(statement, config_parser.BindingStatement):
            continue
        if not statement.arg_name:
            macros[f"%{statement.selector}"] = statement.value
        elif statement.selector.rpartition(".")[2] == "T5Config":
            bound[statement.arg_name] = statement.value
    if not bound:
        raise InputError(f"{path} binds nothing of T5X's T5Config; {INSTEAD}")
    for name in bound.keys() - IRRELEVANT:
        value = bound[name]
        for _ in range(len(macros)):
            value = macros.get(value, value) if isinstance(value, _Named) else value
        if isinstance(value, _Named) or name not in NAMES:
            raise InputError(
                f"{path}: T5Config.{name} = {value} is not known here; {INSTEAD}"
            )
        bound[name] = value
    return _attributes(path, bound)


def bindings(config: T5Config, dtype: str) -> str | None:
    """Gives the gin of T5X's network, or None for a config that it cannot express.

    T5X fixes the epsilon of norms and the first token of the decoder, and shares
    relative positions between layers.
    """
    fixed = (config.bias_per_layer, config.layer_norm_epsilon, config.decoder_start_id)
    if fixed != (False, 1e-6, 0):
        return None
    lines = "\n".join(f"  {name} = {value!r}" for name, value in _arguments(config))
    return (
        "# The network of the checkpoint beside this file, for T5X: include it after\n"
        "# the gin file of a model, which says the rest (MODEL, VOCABULARY).\n"
        "from __gin__ import dynamic_registration\n\n"
        "from t5x.examples.t5 import network\n\n"
        "network.Transformer.config = @network.T5Config()\n"
        f"network.T5Config:\n  dtype = {dtype!r}\n{lines}\n"
    )


def _arguments(config: T5Config) -> Iterator[tuple[str, object]]:
    """Yields T5X's names and values; those of later versions only if they differ."""
    special = {
        "feed_forward_proj": config.activations,
        "scale_decoder_outputs": config.scale_outputs,
    }
    for name, (ours, default) in NAMES.items():
        value = special[ours] if ours in special else getattr(config, ours)
        if name not in LATER or value != default:
            yield name, value


def _attributes(path: pathlib.Path, bound: JsonObject) -> JsonObject:
    found = {ours: bound.get(name, default) for name, (ours, default) in NAMES.items()}
    activations = found["feed_forward_proj"]
    if isinstance(activations, list):
        activations = tuple(activations)
    if activations not in FEED_FORWARD:
        known = ", ".join(str(names) for names in FEED_FORWARD)
        raise InputError(
            f"{path}: T5Config.mlp_activations is {activations!r}; known are {known}"
        )
    found["feed_forward_proj"] = FEED_FORWARD[activations]
    return found


def _statements(path: pathlib.Path) -> list[object]:
    try:
        return list(config_parser.ConfigParser(files.read_text(path), _Delegate()))
    except InputError:
        raise
    except (SyntaxError, ValueError, IndexError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as gin: {error}") from error
