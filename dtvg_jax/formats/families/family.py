"""What a family of backbones is to the readers of Hugging Face folders."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from dtvg_jax.errors import InputError
from dtvg_jax.formats import tensors
from dtvg_jax.formats.configs import Attributes
from dtvg_jax.formats.tensors import Slot, Tensor
from dtvg_jax.models.backbone import Config

# Tensors of a folder's files, by the names they have there.
Weights: TypeAlias = dict[str, Tensor]
HEAD = "lm_head.weight"
# Our names of what files call q, k, v and o.
QKVO = ("query", "key", "value", "out")


class Family(NamedTuple):
    """What the files of a family say, in their own words.

    model_types: what config.json calls its models
    read: attributes of config.json and weights -> config, and the place in our tree of
        each tensor.  It takes out of the weights what no model uses, or uses twice;
        the rest is compared with the names.  Raises InputError for what would be
        another model.
    said: attributes of config.json -> config, where they alone can be believed
    """

    model_types: tuple[str, ...]
    read: Callable[[Attributes, Weights], tuple[Config, dict[str, Slot]]]
    said: Callable[[Attributes], Config]


def one_embedding(weights: Weights, names: tuple[str, ...]) -> Tensor:
    """Leaves one of the embedding's names, the first, in `weights`."""
    there = [name for name in names if name in weights]
    if not there:
        raise InputError(f"the weights have no embedding, a tensor named {names[0]}.")
    first = weights[there[0]]
    for name in there:
        if not tensors.same(weights.pop(name), first):
            raise InputError(
                f"the tensors {there[0]} and {name} should be equal, both are the "
                "embedding, but they differ."
            )
    weights[names[0]] = first
    return first
