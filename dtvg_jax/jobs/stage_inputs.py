"""What a stage gives its lanes to begin with: P_init, source vectors, first prompts."""

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dtvg_jax import methods
from dtvg_jax.jobs import plan
from dtvg_jax.jobs.job import Job
from dtvg_jax.methods import Start
from dtvg_jax.report.records import SingleSource
from dtvg_jax.store.entries import Entry
from dtvg_jax.training.lanes import LaneContexts
from dtvg_jax.training.runs import Lane, Run

Prompt = Float[np.ndarray, "P H"]
Starts = Mapping[int, Prompt]  # P_init by seed
Read = Callable[[Run], Entry]


def first(p_init: Starts, lanes: Sequence[Lane]) -> LaneContexts:
    """Begins stage 1: every lane at its seed's P_init, without sources."""
    starts = np.stack([p_init[lane.run.seed] for lane in lanes])
    shared = np.stack(list(p_init.values()))
    groups, *shape = shared.shape
    return LaneContexts(
        p_init=jnp.asarray(shared),
        sources=jnp.zeros((groups, 0, *shape)),
        start=jnp.asarray(starts),
        available=jnp.zeros((len(lanes), 0), bool),
    )


def second(
    job: Job,
    p_init: Starts,
    lanes: Sequence[Lane],
    read: Read,
    singles: Sequence[SingleSource],
) -> LaneContexts:
    """Begins stage 2 with what stage 1 learned; no lane uses a source that failed.

    `read` gives the entry of a run; `singles` say how every source's prompt, untuned,
    scores on every target.
    """
    learned = {
        (task, seed): read(plan.stage1_run(task, seed))
        for task in plan.tasks(job)
        for seed in job.seeds
    }
    available = [
        [
            task != lane.run.task and not learned[task, lane.run.seed].metadata.failed
            for task in job.sources
        ]
        for lane in lanes
    ]
    starts = []
    for lane, usable in zip(lanes, available, strict=True):
        prompts = {
            task: learned[task, lane.run.seed].arrays["prompt"]
            for task, ok in zip(job.sources, usable, strict=True)
            if ok
        }
        own = learned[lane.run.task, lane.run.seed].arrays["prompt"]
        starts.append(_start(lane.run, own, prompts, singles))
    shared = np.stack(list(p_init.values()))
    groups, *shape = shared.shape
    vectors = [
        [learned[task, seed].arrays["tpv"] for task in job.sources]
        for seed in job.seeds
    ]
    count = len(job.sources)
    return LaneContexts(
        p_init=jnp.asarray(shared),
        sources=jnp.asarray(vectors).reshape(groups, count, *shape),
        start=jnp.stack(starts),
        available=jnp.asarray(available, bool).reshape(-1, count),
    )


def _start(
    run: Run,
    own: Prompt,
    sources: Mapping[str, Prompt],
    singles: Sequence[SingleSource],
) -> Prompt:
    """Takes the target's own prompt, or a source's where the method begins there."""
    begins = methods.by_name(run.method).start
    if begins == Start.OWN or not sources:
        return own
    if begins == Start.MOST_SIMILAR_SOURCE:
        return sources[_most_similar(own, sources)]
    scores = {
        single.source: single.validation["mean"]
        for single in singles
        if (single.task, single.seed) == (run.task, run.seed)
    }
    return sources[max(sources, key=lambda task: scores[task])]


def _most_similar(own: Prompt, sources: Mapping[str, Prompt]) -> str:
    """Compares by the cosine of mean rows; ties go to the first source."""
    means = np.stack([prompt.mean(axis=0) for prompt in sources.values()])
    norms = np.linalg.norm(means, axis=1)
    # A mean of zero has no direction: it counts as orthogonal, not as NaN.
    cosines = means @ own.mean(axis=0) / np.where(norms > 0, norms, 1)
    return list(sources)[int(np.argmax(cosines))]
