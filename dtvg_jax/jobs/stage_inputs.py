"""What a stage gives its lanes to begin with: P_init, source vectors, first prompts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dtvg_jax import methods
from dtvg_jax.jobs import job, plan
from dtvg_jax.store import prompt_store
from dtvg_jax.training.stages import Lane

Starts = Mapping[int, Float[np.ndarray, "P H"]]  # P_init by seed
Prompt = Float[np.ndarray, "P H"]


def first(p_init: Starts, lanes: Sequence[Lane]) -> methods.Context:
    """Begins stage 1: every lane at its seed's P_init, without sources."""
    starts = np.stack([p_init[lane.seed] for lane in lanes])
    shared = np.stack(list(p_init.values()))
    groups, *shape = shared.shape
    return methods.Context(
        p_init=jnp.asarray(shared),
        sources=jnp.zeros((groups, 0, *shape)),
        start=jnp.asarray(starts),
        available=jnp.zeros((len(lanes), 0), bool),
    )


def second(
    job: job.Job,
    p_init: Starts,
    lanes: Sequence[Lane],
    read: Callable[[str], prompt_store.Entry],
    singles: Sequence[Mapping[str, Any]],
) -> methods.Context:
    """Begins stage 2 with what stage 1 learnt; a failed source is available to no lane.

    Args:
      job: names sources and seeds.
      p_init: of each seed.
      lanes: those that begin.
      read: gives an entry of the store by name.
      singles: how every source's prompt, untuned, scores on every target.
    """
    learnt = {
        (task, seed): read(f"{task}/stage1-seed{seed}")
        for task in plan.tasks(job)
        for seed in job.seeds
    }
    available = {
        lane: [
            task != lane.task and not learnt[task, lane.seed].passport["failed"]
            for task in job.sources
        ]
        for lane in lanes
    }
    starts = []
    for lane in lanes:
        prompts = {
            task: learnt[task, lane.seed].arrays["prompt"]
            for task, ok in zip(job.sources, available[lane], strict=True)
            if ok
        }
        own = learnt[lane.task, lane.seed].arrays["prompt"]
        starts.append(_start(lane, own, prompts, singles))
    shared = np.stack(list(p_init.values()))
    groups, *shape = shared.shape
    vectors = [
        [learnt[task, seed].arrays["tpv"] for task in job.sources] for seed in job.seeds
    ]
    count = len(job.sources)
    return methods.Context(
        p_init=jnp.asarray(shared),
        sources=jnp.asarray(vectors).reshape(groups, count, *shape),
        start=jnp.stack(starts),
        available=jnp.asarray(list(available.values()), bool).reshape(-1, count),
    )


def _start(
    lane: Lane,
    own: Prompt,
    sources: Mapping[str, Prompt],
    singles: Sequence[Mapping[str, Any]],
) -> Prompt:
    """Takes the target's own prompt, or a source's where the method begins there."""
    begins = methods.STARTS.get(lane.method, "own")
    if begins == "own" or not sources:
        return own
    if begins == "most_similar_source":
        return sources[_most_similar(own, sources)]
    scores = {
        row["source"]: row["validation"]["mean"]
        for row in singles
        if (row["task"], row["seed"]) == (lane.task, lane.seed)
    }
    return sources[max(sources, key=lambda task: scores[task])]


def _most_similar(own: Prompt, sources: Mapping[str, Prompt]) -> str:
    """Compares by the cosine of mean rows; ties go to the first source."""
    means = np.stack([prompt.mean(axis=0) for prompt in sources.values()])
    cosines = means @ own.mean(axis=0) / np.linalg.norm(means, axis=1)
    return list(sources)[int(np.argmax(cosines))]
