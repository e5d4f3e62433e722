"""What the reader of Hugging Face folders needs to know of a family of backbones."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from dtvg_jax.errors import InputError
from dtvg_jax.formats import tensors
from dtvg_jax.formats.configs import Attributes
from dtvg_jax.formats.tensors import Slot, Tensor
from dtvg_jax.models.backbone import Config

# Tensors of a folder's files, by the names that they have there.
Weights: TypeAlias = dict[str, Tensor]
HEAD = "lm_head.weight"
# Our names of what files call q, k, v and o.
QKVO = ("query", "key", "value", "out")


class Family(NamedTuple):
    """How the files of a family are read.

    model_types: the values of model_type in config.json
    read: attributes of config.json and weights -> config, and the place in our tree of
        each tensor. It removes tensors that no model uses and duplicates from the
        weights; the rest is compared with the names. Raises InputError for what would
        be another model.
    published: attributes of config.json -> config, for a published model without its
        weights
    """

    model_types: tuple[str, ...]
    read: Callable[[Attributes, Weights], tuple[Config, dict[str, Slot]]]
    published: Callable[[Attributes], Config]


def one_embedding(weights: Weights, names: tuple[str, ...]) -> Tensor:
    """Leaves the embedding in `weights` under its first name alone, and returns it."""
    present = [name for name in names if name in weights]
    if not present:
        raise InputError(f"the weights have no embedding, a tensor named {names[0]}")
    first = weights[present[0]]
    for name in present:
        if not tensors.same(weights.pop(name), first):
            raise InputError(
                f"the tensors {present[0]} and {name} should be equal, both are the "
                "embedding, but they differ"
            )
    weights[names[0]] = first
    return first
