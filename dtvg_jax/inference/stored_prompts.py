"""Stored prompts tested on task splits: many prompts and tasks in one program."""

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from dtvg_jax import files
from dtvg_jax.data import (
    catalogue,
    prepared,
    scoring,
    source,
    token_table,
    tokenise,
)
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.errors import InputError, check_field_types, refuse_repeats, shown
from dtvg_jax.inference import predictions, ranking, split_decoding
from dtvg_jax.inference.ranking import Scoring
from dtvg_jax.inference.split_decoding import Pair, Setup
from dtvg_jax.models.backbone import Backbone, Vocabulary
from dtvg_jax.store import entries
from dtvg_jax.store.entries import Entry
from dtvg_jax.store.prompt_store import PromptStore
from dtvg_jax.training import hosts, placement

MADE_BY = "dtvg_jax.evaluate"

Split: TypeAlias = Literal["train", "validation", "test"]


@dataclasses.dataclass(frozen=True)
class EvaluateSettings:
    """What is tested, and on which rows.

    Attributes:
      prompts: entries; all if none is named.
      tasks: tried by the prompts of the same task; the prompts' own if none is named.
      matrix: try every prompt on every task.
      split: of the tasks.
      scoring: decode, or compare the labels of the task.
      rows: only the first ones of each split.
      batch_size: rows that are decoded at once where they are of full length; shorter
        ones are more.
      data_dir: prepared TFDS data, or "miniature".
      tasks_module: registers the tasks that are not in the catalogue.
      cache_dir: of token tables.
    """

    prompts: Sequence[str] = ()
    tasks: Sequence[str] = ()
    matrix: bool = False
    split: Split = "test"
    scoring: Scoring = Scoring.GREEDY
    rows: int | None = None
    batch_size: int = 32
    data_dir: str = prepared.MINIATURE
    tasks_module: str = "tasks.all"
    cache_dir: str = "~/.cache/dtvg_jax"

    def __post_init__(self) -> None:
        check_field_types(self)
        ranking.check_scoring(self.scoring)
        for name in ("prompts", "tasks"):
            refuse_repeats(name, getattr(self, name))


class Trial(NamedTuple):
    """A stored prompt, by the name of its entry, and the task it is tried on."""

    entry: str
    task: str


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """The scores of a trial, and the file of its predictions."""

    entry: str
    task: str
    split: str
    examples: int
    metrics: Mapping[str, float]
    primary_metric: str
    predictions: str


class _Shared(NamedTuple):
    """What prompts that are tested in one program have in common."""

    prompt_length: int
    label_style: str


def evaluate(
    backbone: Backbone,
    prompt_store: PromptStore,
    out: str | os.PathLike[str],
    settings: EvaluateSettings = EvaluateSettings(),  # noqa: B008 (frozen)
) -> list[TrialResult]:
    """Tests stored prompts on task splits, in one program.

    Writes predictions/ and results.json into the folder `out`. Raises InputError for
    prompts that do not fit, unknown tasks, missing data.
    """
    names = list(settings.prompts) or prompt_store.names()
    if not names:
        raise InputError(f"{prompt_store.folder} holds no learned prompts")
    folder = files.expand(out)
    _check_replaceable(folder / "results.json")
    found = {name: prompt_store.read(name, entries.fit(backbone)) for name in names}
    shared = _shared(found)
    trials = plan_trials(found, settings.tasks, settings.matrix)
    backbone, place = placement.spread(backbone)
    # JAX takes SIGTERM of one process for all: they stop between the same blocks.
    check = hosts.together(lambda: None)
    setup = Setup(backbone, place, settings.batch_size, check)
    tables = _open_tables(trials, found, settings, shared, backbone)
    hosts.check_alike(_facts(backbone, found, settings, tables))
    answers = answer(trials, found, tables, setup, settings.scoring)
    results = [
        _result(trial, tables[trial.task], given, folder)
        for trial, given in zip(trials, answers, strict=True)
    ]
    _write(folder / "results.json", results)
    return results


def _facts(
    backbone: Backbone,
    found: Mapping[str, Entry],
    settings: EvaluateSettings,
    tables: Mapping[str, TokenTable],
) -> files.JsonObject:
    """Gathers what answers depend on, and the programs that all hosts run alike."""
    given = dataclasses.asdict(settings)
    for place in ("data_dir", "cache_dir"):
        del given[place]
    return {
        **given,
        "backbone_digest": backbone.digest,
        "prompts": {name: one.metadata.prompt_digest for name, one in found.items()},
        "splits": {task: t.metadata.split_digest for task, t in tables.items()},
    }


@hosts.written_once
def _write(path: files.Path, results: Sequence[TrialResult]) -> None:
    rows = [dataclasses.asdict(result) for result in results]
    files.write_json(path, {"made_by": MADE_BY, "rows": rows})


def _check_replaceable(path: files.Path) -> None:
    """Raises InputError where a file is there that an evaluation did not write."""
    if path.exists() and files.read_json(path).get("made_by") != MADE_BY:
        raise InputError(
            f"{path} was not written by an evaluation (a job's results, say), and is "
            "not replaced: give another --out"
        )


def plan_trials(
    found: Mapping[str, Entry], tasks: Sequence[str], matrix: bool
) -> list[Trial]:
    """Pairs prompts with tasks: each with its own, or with `matrix` each with all.

    `tasks` may be empty: the prompts' own are taken then. A prompt of a mixture of the
    catalogue has all its tasks for its own.
    """
    mixtures = catalogue.mixtures()
    owned = {
        name: mixtures.get(entry.metadata.task, [entry.metadata.task])
        for name, entry in found.items()
    }
    own = list(dict.fromkeys(itertools.chain.from_iterable(owned.values())))
    wanted = list(tasks) or own
    trials = [
        Trial(name, task)
        for name in found
        for task in wanted
        if matrix or task in owned[name]
    ]
    if not trials:
        raise InputError(
            f"none of the prompts was learned for {', '.join(wanted)}: their tasks are "
            f"{', '.join(own)}; --matrix tries each prompt on each task"
        )
    return trials


def answer(
    trials: Sequence[Trial],
    found: Mapping[str, Entry],
    tables: Mapping[str, TokenTable],
    setup: Setup,
    scoring_by: Scoring,
) -> list[list[str]]:
    """Answers every row of every trial."""
    names = list(found)
    prompts = entries.prompts_of([found[name] for name in names])
    pairs = [Pair(names.index(trial.entry), tables[trial.task]) for trial in trials]
    if scoring_by == Scoring.GREEDY:
        decode = split_decoding.make_decode(setup.backbone)
        return split_decoding.predict(decode, setup, prompts, pairs)
    labels = [label_texts(pair.table, setup.backbone.vocabulary) for pair in pairs]
    ranker = ranking.make_rank(setup.backbone)
    scores = split_decoding.rank(ranker, setup, prompts, pairs, labels)
    return list(map(ranking.likeliest, labels, scores))


def label_texts(table: TokenTable, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Lists the labels of a task.

    Raises InputError where answers are free, and for a target that is no label.
    """
    labels = ranking.checked(table.name, table.scoring.labels)
    rows = [tokenise.TextRow("", label, None) for label in labels]
    known = tokenise.tokenise(rows, vocabulary, table.lengths).targets
    bounds = itertools.pairwise(table.target_offsets)
    for ids in {tuple(table.targets[first:last].tolist()) for first, last in bounds}:
        if list(ids) not in known:
            [text] = vocabulary.decode([list(ids)])
            raise InputError(
                f"a target of {table.name} {table.split} is {shown(text)}, which is "
                f"none of its labels {', '.join(map(repr, labels))}"
            )
    return labels


def _open_tables(
    trials: Sequence[Trial],
    found: Mapping[str, Entry],
    settings: EvaluateSettings,
    shared: _Shared,
    backbone: Backbone,
) -> dict[str, TokenTable]:
    wanted = list(dict.fromkeys(trial.task for trial in trials))
    for task in wanted:
        catalogue.check_task(task, settings.tasks_module)
    cache = files.expand_local(settings.cache_dir, "the cache folder")
    builders = source.builders(wanted, settings.tasks_module)
    lengths = {task: _lengths(task, found) for task in wanted}
    common = token_table.TableSettings(
        vocabulary=backbone.vocabulary,
        lengths=next(iter(lengths.values())),
        cache_dir=cache,
        tfds_data_dir=prepared.folder(settings.data_dir, cache, builders),
        label_style=shared.label_style,
        tasks_module=settings.tasks_module,
    )
    opened = {
        task: token_table.token_table(
            task, settings.split, dataclasses.replace(common, lengths=lengths[task])
        )
        for task in wanted
    }
    return {task: token_table.head(t, settings.rows) for task, t in opened.items()}


def _result(
    trial: Trial, table: TokenTable, given: Sequence[str], folder: files.Path
) -> TrialResult:
    """Writes the predictions of a trial and scores them."""
    name = entries.parse(trial.entry).flat
    file = f"predictions/{name}-on-{trial.task}.jsonl"
    predictions.write(folder / file, table, given)
    scores = scoring.score(table, given)
    return TrialResult(
        entry=trial.entry,
        task=trial.task,
        split=table.split,
        examples=len(table),
        metrics=scores,
        primary_metric=scoring.primary_metric(table, scores),
        predictions=file,
    )


def _lengths(task: str, found: Mapping[str, Entry]) -> tuple[int, int]:
    """Gives the lengths that a task's own prompts were learned with.

    Without such prompts it is the catalogue's; raises InputError where they differ.
    """
    own = {
        name: (entry.metadata.lengths[0], entry.metadata.lengths[1])
        for name, entry in found.items()
        if entry.metadata.task == task and entry.metadata.lengths
    }
    if not own:
        return catalogue.lengths(task)
    first = next(iter(own))
    for name, lengths in own.items():
        if lengths != own[first]:
            raise _differ("lengths", name, lengths, first, own[first])
    return own[first]


def _differ(
    field: str, name: str, value: object, first: str, before: object
) -> InputError:
    return InputError(
        f"{field} of {name} is {value}, of {first} {before}: test them separately"
    )


def _shared(found: Mapping[str, Entry]) -> _Shared:
    """Gives what all prompts must have in common to be tested in one program."""
    first, agreed = "", _Shared(0, "")
    for name, entry in found.items():
        values = {field: getattr(entry.metadata, field) for field in _Shared._fields}
        for field, value in values.items():
            if value is None:
                raise InputError(f"{name} does not say its {field}: test it in a job")
        mine = _Shared(values["prompt_length"], values["label_style"])
        if not first:
            first, agreed = name, mine
        for field, value, before in zip(_Shared._fields, mine, agreed, strict=True):
            if value != before:
                raise _differ(field, name, value, first, before)
    return agreed
