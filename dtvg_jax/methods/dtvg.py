"""Dynamic task vector grouping, with any grouping rule (arXiv 2503.18063)."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dtvg_jax import task_vectors
from dtvg_jax.errors import Count, InputError, Number, Rate, unknown
from dtvg_jax.methods.method import (
    PER_LANE,
    Context,
    Diagnostics,
    Method,
    Trainables,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grouped(Method):
    """Trains P_t, alpha_t and alpha_s through the merged prompt.

    The method state is the group; before the first step it is the rule's choice for
    the start.

    Attributes:
      rule: how the group is chosen, a name of `RULES`; it names the method.
      alias: a name to use instead of the rule's.
      every: the group is chosen anew at every so many steps, and kept in between.
      until: from this step on the group is kept for good; None: never.
      weight: lambda of "greedy" and "exhaustive": consistency beside similarity.
      exhaustive_limit: most sources that "exhaustive" takes; it tries 2^S groups.
      target_scale_rate: peak rate of alpha_t; None: the stage's, as in the reference.
      source_scale_rate: peak rate of alpha_s, likewise.
    """

    rule: str = "dtvg"
    alias: str = dataclasses.field(default="", metadata=PER_LANE)
    every: Count = 1
    until: Number | None = None
    weight: Rate = 1.0
    exhaustive_limit: Count = task_vectors.MAX_EXHAUSTIVE_SOURCES
    target_scale_rate: Rate | None = dataclasses.field(default=None, metadata=PER_LANE)
    source_scale_rate: Rate | None = dataclasses.field(default=1e-3, metadata=PER_LANE)

    merges_sources = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rule not in RULES:
            raise unknown("grouping rule", self.rule, RULES)

    @property
    def name(self) -> str:
        """The alias, or the rule's name."""
        return self.alias or self.rule

    @property
    def description(self) -> str:
        """Says how the group is chosen, and when."""
        if self.until is not None:
            kept = f"step {self.until}" if self.until else "the first step"
            return f"{self.rule}, but the group of {kept} is kept"
        if self.every > 1:
            return (
                f"{self.rule}, but a new group is chosen every {self.every} steps only"
            )
        return RULES[self.rule].description

    def check(self, sources: Sequence[str], seeds: Sequence[int]) -> None:
        """Raises InputError for more sources than the rule takes."""
        super().check(sources, seeds)
        if self.rule == "exhaustive" and len(sources) > self.exhaustive_limit:
            raise InputError(
                f"method {self.full_name!r} takes at most {self.exhaustive_limit} "
                f"sources, not {len(sources)}"
            )

    def rates(self, learning_rate: float) -> dict[str, float]:
        """Gives the prompt the stage's rate, and scales their own."""
        own = {
            "target_scale": self.target_scale_rate,
            "source_scales": self.source_scale_rate,
        }
        return super().rates(learning_rate) | {
            name: learning_rate if rate is None else rate for name, rate in own.items()
        }

    def saved(
        self, trainables: Mapping[str, np.ndarray], method_state: Bool[np.ndarray, " S"]
    ) -> dict[str, np.ndarray]:
        """Keeps what the merged prompt was made of."""
        return {
            "target_prompt": trainables["prompt"],
            "target_scale": trainables["target_scale"],
            "source_scales": trainables["source_scales"],
            "group": method_state.astype(np.uint8),
        }

    def init(self, context: Context) -> tuple[Trainables, Bool[Array, " S"]]:
        """Starts with all scales at one."""
        sources, length, _ = context.sources.shape
        trainables = {
            "prompt": context.start,
            "target_scale": jnp.ones(length, context.start.dtype),
            "source_scales": jnp.ones((sources, length), context.start.dtype),
        }
        return trainables, self._group(_see(trainables, context))

    def prompt(
        self,
        trainables: Trainables,
        method_state: Bool[Array, " S"],
        context: Context,
        step: Int[Array, ""],
    ) -> tuple[Float[Array, "P H"], Bool[Array, " S"], Diagnostics]:
        """Merges the group of the step."""
        seen = _see(trainables, context)
        due = step % self.every == 0
        if self.until is not None:
            due &= step < self.until
        # A mask and no branch: beside the backbone the rule costs nothing, and every
        # step is the same program.
        group = jnp.where(due, self._group(seen), method_state)
        merged = task_vectors.merge(
            context.p_init,
            trainables["target_scale"],
            trainables["prompt"] - context.p_init,
            group,
            trainables["source_scales"],
            context.sources,
        )
        return merged, group, _diagnostics(seen, group)

    def _group(self, seen: task_vectors.Similarities) -> Bool[Array, " S"]:
        return RULES[self.rule].made(self)(seen)


def _see(trainables: Trainables, context: Context) -> task_vectors.Similarities:
    return task_vectors.similarities(
        trainables["target_scale"],
        trainables["prompt"] - context.p_init,
        trainables["source_scales"],
        context.sources,
        context.available,
    )


def _diagnostics(
    seen: task_vectors.Similarities, group: Bool[Array, " S"]
) -> Diagnostics:
    return {
        "similarity": seen.target,
        "group": group,
        "target_similarity": task_vectors.group_target_similarity(seen, group),
        "knowledge_consistency": task_vectors.knowledge_consistency(seen, group),
    }


class NamedRule(NamedTuple):
    """A grouping rule as users name it."""

    made: Callable[[Grouped], task_vectors.Rule]
    description: str


RULES = {
    "dtvg": NamedRule(
        lambda _: task_vectors.released,
        "a group, chosen anew at every step: sources that are similar to the target "
        "and to each other",
    ),
    "target_only": NamedRule(
        lambda _: task_vectors.target_only,
        "the target's own vector with trained scales; the group is empty",
    ),
    "all_sources": NamedRule(
        lambda _: task_vectors.all_sources, "every source is in the group"
    ),
    "positive_similarity": NamedRule(
        lambda _: task_vectors.positive_similarity,
        "the group is every source that is not dissimilar",
    ),
    "max_consistency": NamedRule(
        lambda _: task_vectors.max_consistency,
        "the group is the two sources most similar to each other",
    ),
    "greedy": NamedRule(
        lambda method: task_vectors.greedy(method.weight),
        "the group grows by one source at a time, while similarity to the target plus "
        "similarity to each other grows",
    ),
    "exhaustive": NamedRule(
        lambda method: task_vectors.exhaustive(method.weight, method.exhaustive_limit),
        "of all groups the one that is most similar to the target and to each other, "
        "in sum",
    ),
}

METHODS = [
    *(Grouped(rule=rule) for rule in RULES),
    Grouped(alias="fixed_group", until=0),
    Grouped(alias="regroup_every_10", every=10),
    Grouped(alias="freeze_after_50", until=50),
]
