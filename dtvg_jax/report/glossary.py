"""What the report says of terms and methods."""

from dtvg_jax import methods

TERMS = """\
- A *prompt* is a small array of numbers placed in front of a model's input. The model \
is frozen; only prompts are trained.
- *Targets* are the tasks to improve; *sources* are tasks whose prompts may help.
- *Stage 1* learns a prompt for each source and each target separately. *Stage 2* \
tunes the targets' prompts further, once with each method.
- A *task prompt vector* is what stage 1 has changed in a prompt: the learned prompt \
minus the initial one.
- The *group* of a target consists of the sources whose task prompt vectors are added \
to its own.
- A *seed* determines the initial prompt and the order of the examples. Seeds differ \
by chance alone, so a difference no larger than that between seeds means nothing."""

METHODS = {
    "prompt_tuning": "the target's own prompt, tuned further; no source takes part",
    "spot": "starts from the prompt of the most similar source",
    "best_source": "starts from the prompt of the source that validates best as it is",
    "dtvg": "a group, chosen anew at every step: sources that are similar to the "
    "target and to each other",
    "target_only": "the target's own vector with trained scales; the group is empty",
    "all_sources": "every source is in the group",
    "positive_similarity": "the group is every source that is not dissimilar",
    "max_consistency": "the group is the two sources most similar to each other",
    "fixed_group": "dtvg, but the group of the first step is kept",
    "regroup_every_10": "dtvg, but a new group is chosen every 10 steps only",
    "freeze_after_50": "dtvg, but the group of step 50 is kept",
    "greedy": "the group grows by one source at a time, while similarity to the target "
    "plus similarity to each other grows",
    "exhaustive": "of all groups the one that is most similar to the target and to "
    "each other, in sum",
}


def description(method: str) -> str:
    """Says what a method does; nothing for one that is not known here."""
    known = methods.METHODS.get(method)
    return getattr(known, "description", "") or METHODS.get(method, "")
