"""The flags of commands that run a backbone with stored prompts."""

from typing import NamedTuple

from absl import flags

from dtvg_jax.cli import host_settings

# As in formats.load and inference.ranking, which load JAX: flags are read before that.
DTYPES = ("float32", "bfloat16")
SCORINGS = ("greedy", "rank")


class ModelFlags(NamedTuple):
    """Which backbone runs, and how."""

    backbone: flags.FlagHolder[str]
    dtype: flags.FlagHolder[str]
    batch_size: flags.FlagHolder[int]
    cache_dir: flags.FlagHolder[str]


def define(known: flags.FlagValues) -> ModelFlags:
    """Adds these flags to those of a command."""
    host_settings.define_flag(known)
    return ModelFlags(
        flags.DEFINE_string(
            "backbone",
            "miniature",
            "The model of the prompts: a Hugging Face or T5X folder, or miniature.",
            known,
        ),
        flags.DEFINE_enum("dtype", "float32", DTYPES, "Of the backbone.", known),
        flags.DEFINE_integer("batch_size", 32, "Rows per batch.", 1, None, known),
        flags.DEFINE_string(
            "cache_dir",
            "~/.cache/dtvg_jax",
            "Folder for compiled programs, token tables and generated data.",
            known,
        ),
    )


def define_scoring(known: flags.FlagValues) -> flags.FlagHolder[str]:
    """Adds the flag that says how rows are answered."""
    return flags.DEFINE_enum(
        "scoring", "greedy", SCORINGS, "Decode greedily, or rank the labels.", known
    )
