"""Dynamic task vector grouping, with any grouping rule (arXiv 2503.18063)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dtvg_jax import task_vectors
from dtvg_jax.methods.method import Context, Method, Trainables


def dtvg(rule: task_vectors.Rule, every: int = 1, until: int | None = None) -> Method:
    """Trains P_t, alpha_t and alpha_s through the merged prompt.

    The group is chosen anew by `rule` at every `every`-th step before step `until`
    (None: always) and kept in between; before the first step it is the rule's choice
    for the start, which `until=0` keeps for good.
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
        memory: Bool[Array, " S"],
        context: Context,
        step: Int[Array, ""],
    ) -> tuple[Float[Array, "P H"], Bool[Array, " S"], dict[str, Array]]:
        seen = _see(trainables, context)
        due = step % every == 0
        if until is not None:
            due &= step < until
        group = jnp.where(due, rule(seen), memory)
        merged = task_vectors.merge(
            context.p_init,
            trainables["target_scale"],
            trainables["prompt"] - context.p_init,
            group,
            trainables["source_scales"],
            context.sources,
        )
        diagnostics = {
            "similarity": seen.target,
            "group": group,
            "target_similarity": task_vectors.group_target_similarity(seen, group),
            "knowledge_consistency": task_vectors.knowledge_consistency(seen, group),
        }
        return merged, group, diagnostics

    return Method(init, prompt)


def _see(trainables: Trainables, context: Context) -> task_vectors.Similarities:
    return task_vectors.similarities(
        trainables["target_scale"],
        trainables["prompt"] - context.p_init,
        trainables["source_scales"],
        context.sources,
        context.available,
    )
