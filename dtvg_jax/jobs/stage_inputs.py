"""What a stage gives its lanes to begin with: P_init, source vectors, first prompts."""

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dtvg_jax.jobs import plan
from dtvg_jax.jobs.job import Job
from dtvg_jax.methods import Method, Start, initial_prompt
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.report.records import SingleSource
from dtvg_jax.store.entries import Entry
from dtvg_jax.training import hosts
from dtvg_jax.training.lanes import LaneContexts
from dtvg_jax.training.runs import Lane, Run

Prompt = Float[np.ndarray, "P H"]
Starts = Mapping[int, Prompt]  # P_init by seed
Read = Callable[[Run], Entry]


def p_inits(job: Job, backbone: Backbone) -> dict[int, Prompt]:
    """Draws P_init of each seed from the backbone's embedding."""
    embedding = backbone.embedding(backbone.params)[: initial_prompt.CANDIDATES]
    embedding = hosts.whole(embedding)
    return {
        seed: initial_prompt.p_init(embedding, job.prompt_length, seed)
        for seed in job.seeds
    }


def first(p_init: Starts, lanes: Sequence[Lane]) -> LaneContexts:
    """Begins stage 1: every lane at its seed's P_init, without sources."""
    starts = np.stack([p_init[lane.run.seed] for lane in lanes])
    count, *shape = starts.shape
    # Seeds may have different numbers of lanes, so each is a group of its own.
    return LaneContexts(
        p_init=jnp.asarray(starts),
        sources=jnp.zeros((count, 0, *shape)),
        start=jnp.asarray(starts),
        available=jnp.zeros((len(lanes), 0), bool),
        seed=jnp.asarray([lane.run.seed for lane in lanes], jnp.uint32),
    )


def second(
    job: Job,
    p_init: Starts,
    program: plan.Program,
    read: Read,
    singles: Sequence[SingleSource],
) -> LaneContexts:
    """Begins stage 2 with what stage 1 learned; no lane uses a source that failed.

    `read` gives the entry of a run; `singles` say how every source's prompt, untuned,
    scores on every target.
    """
    learned = {
        (task, seed): read(plan.stage1_run(task, seed))
        for task in plan.learned(job)
        for seed in job.seeds
    }
    available, starts = [], []
    for run in program.runs:
        method = plan.method_of(job, run)
        seed = method.source_seed(run.seed, job.seeds)
        sources = {
            task: learned[task, seed].arrays["prompt"]
            for task in job.sources
            if task != run.task and method.uses(task)
            if not learned[task, seed].metadata.failed
        }
        available.append([task in sources for task in job.sources])
        mixed = job.mixture if method.start == Start.MIXTURE else None
        own = learned[mixed or run.task, run.seed].arrays["prompt"]
        starts.append(
            _start(method.start, run, own, p_init[run.seed], sources, singles)
        )
    shared = np.stack(list(p_init.values()))
    groups, *shape = shared.shape
    vectors = [_vectors(job, program.method, seed, learned) for seed in job.seeds]
    return LaneContexts(
        p_init=jnp.asarray(shared),
        sources=jnp.asarray(vectors).reshape(groups, len(job.sources), *shape),
        start=jnp.stack(starts),
        available=jnp.asarray(available, bool).reshape(-1, len(job.sources)),
        seed=jnp.asarray(job.seeds, jnp.uint32),
    )


def _vectors(
    job: Job, method: Method, seed: int, learned: Mapping[tuple[str, int], Entry]
) -> Float[np.ndarray, "S P H"]:
    """Gives the source vectors of a seed's lanes, as their method takes them."""
    of = method.source_seed(seed, job.seeds)
    vectors = [learned[task, of].arrays["tpv"] for task in job.sources]
    return method.vectors(np.stack(vectors), seed) if vectors else np.zeros((0, 0, 0))


def _start(
    begins: Start,
    run: Run,
    own: Prompt,
    p_init: Prompt,
    sources: Mapping[str, Prompt],
    singles: Sequence[SingleSource],
) -> Prompt:
    """Takes the prompt that a lane begins with; `own` where there is no source.

    That is the target's own, or the mixture's for a method that begins there.
    """
    if begins == Start.P_INIT:
        return p_init
    if begins in (Start.OWN, Start.MIXTURE) or not sources:
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
