"""What the report says of terms, methods, columns and plots."""

TERMS = """\
- A *prompt* is a small array of numbers in front of the input of a model. The model \
stays as it is; only prompts are trained.
- *Targets* are the tasks to get better at; *sources* are tasks whose prompts may help.
- *Stage 1* learns a prompt for each source and each target, by itself. *Stage 2* \
tunes the targets' prompts further, once by each method.
- A *task prompt vector* is what stage 1 has changed in a prompt: the learned one \
minus the first one.
- The *group* of a target is the sources whose task prompt vectors are added to its \
own.
- A *seed* draws the first prompt and the order of the examples. Seeds differ by \
chance alone, so a difference that is not larger than theirs means nothing."""

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

COLUMNS = {
    "method": "how the targets were tuned in stage 2, see above.",
    "mean of targets": 'mean over targets of the column "mean".',
    "targets": "number of targets in that mean.",
    "difference": "mean over pairs (same target, same seed) of the method's score "
    "minus that of prompt tuning. Beside a target's: *noise* if its 95 % interval "
    "holds 0, else *better* or *worse*, as one in twenty is by chance where nothing "
    "differs.",
    "95 % interval": "where the difference may lie, by the paired t interval (n - 1 "
    "degrees of freedom). Pairs of one target or one seed are not quite independent, "
    "so the interval is a measure of noise, not a proof.",
    "pairs": "number of pairs in the difference.",
    "target": "the task that was tuned and tested.",
    "source": "the task whose prompt was learned in stage 1.",
    "metric": "the task's first metric, of at most 100; the others are in "
    "`results.json`.",
    "mean": "mean over seeds of the test score, at the step that validated best.",
    "sd": "sample standard deviation of the same over seeds; one seed has none.",
    "seeds": "number of prompts in the mean; failed ones are left out.",
    "test examples": "examples that each prompt was tested on.",
    "majority": "the score of giving the one most frequent answer to every example.",
    "best single source": "the source whose own prompt, used on the target without any "
    "training on it, has the highest validation score (mean over seeds), and its test "
    "score.",
    "useful": "the job's sources that need, in full or in part, a skill that the "
    "target needs too. They are known because the data are generated "
    "(`tasks/miniature/useful.py`).",
    "chosen": "the sources in the group at half of the steps or more.",
    "precision": "share of the chosen sources that are useful, in %; mean over logged "
    "steps with a group, then over seeds.",
    "by chance": "the precision of a group that is drawn at random, or of all sources.",
    "recall": "share of the useful sources that are chosen, in %; mean over logged "
    "steps, then over seeds.",
}

PLOTS = {
    "losses": "training loss of every prompt",
    "groups": "which sources were in the group at each step",
    "consistency": "target similarity and knowledge consistency over the steps",
    "similarity": "cosine of the mean rows of the task prompt vectors after stage 1",
}
