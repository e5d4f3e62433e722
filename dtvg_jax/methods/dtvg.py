"""Dynamic task vector grouping, with any grouping rule (arXiv 2503.18063)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dtvg_jax import task_vectors
from dtvg_jax.methods.method import (
    Context,
    Diagnostics,
    Method,
    Registered,
    Trainables,
)


def grouped(
    rule: task_vectors.Rule, every: int = 1, until: int | None = None
) -> Method:
    """Trains P_t, alpha_t and alpha_s through the merged prompt.

    The group is chosen anew by `rule` at every `every`-th step before step `until`
    (None: always) and kept in between; before the first step it is the rule's choice
    for the start, which `until=0` keeps for good. The method state is the group.
    """

    def init(context: Context) -> tuple[Trainables, Bool[Array, " S"]]:
        sources, length, _ = context.sources.shape
        trainables = {
            "prompt": context.start,
            "target_scale": jnp.ones(length, context.start.dtype),
            "source_scales": jnp.ones((sources, length), context.start.dtype),
        }
        return trainables, rule(_see(trainables, context))

    def prompt(
        trainables: Trainables,
        method_state: Bool[Array, " S"],
        context: Context,
        step: Int[Array, ""],
    ) -> tuple[Float[Array, "P H"], Bool[Array, " S"], Diagnostics]:
        seen = _see(trainables, context)
        due = step % every == 0
        if until is not None:
            due &= step < until
        # A mask and no branch: beside the backbone the rule costs nothing, and every
        # step is the same program.
        group = jnp.where(due, rule(seen), method_state)
        merged = task_vectors.merge(
            context.p_init,
            trainables["target_scale"],
            trainables["prompt"] - context.p_init,
            group,
            trainables["source_scales"],
            context.sources,
        )
        return merged, group, _diagnostics(seen, group)

    return Method(init, prompt)


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


METHODS = {
    "dtvg": Registered(
        grouped(task_vectors.released),
        "a group, chosen anew at every step: sources that are similar to the target "
        "and to each other",
    ),
    "target_only": Registered(
        grouped(task_vectors.target_only),
        "the target's own vector with trained scales; the group is empty",
    ),
    "all_sources": Registered(
        grouped(task_vectors.all_sources), "every source is in the group"
    ),
    "positive_similarity": Registered(
        grouped(task_vectors.positive_similarity),
        "the group is every source that is not dissimilar",
    ),
    "max_consistency": Registered(
        grouped(task_vectors.max_consistency),
        "the group is the two sources most similar to each other",
    ),
    "fixed_group": Registered(
        grouped(task_vectors.released, until=0),
        "dtvg, but the group of the first step is kept",
    ),
    "regroup_every_10": Registered(
        grouped(task_vectors.released, every=10),
        "dtvg, but a new group is chosen every 10 steps only",
    ),
    "freeze_after_50": Registered(
        grouped(task_vectors.released, until=50),
        "dtvg, but the group of step 50 is kept",
    ),
    "greedy": Registered(
        grouped(task_vectors.greedy(1.0)),
        "the group grows by one source at a time, while similarity to the target plus "
        "similarity to each other grows",
    ),
    "exhaustive": Registered(
        grouped(task_vectors.exhaustive(1.0)),
        "of all groups the one that is most similar to the target and to each other, "
        "in sum",
        most_sources=task_vectors.MAX_EXHAUSTIVE_SOURCES,
    ),
}
