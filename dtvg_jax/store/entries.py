"""Entries of the prompt store: their names, metadata and arrays."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dtvg_jax import methods
from dtvg_jax.errors import InputError, shown
from dtvg_jax.methods import row_prompts
from dtvg_jax.methods.row_prompts import Prompts, RowPrompt
from dtvg_jax.models import backbone
from dtvg_jax.training.runs import Run, Trial, can_name_a_file

FORMAT, UNSEALED = 2, 1  # entries of format 1 have no digest of their metadata
# In names of entries, the method of a prompt that stage 1 learned.
STAGE1 = "stage1"
# The method of an imported prompt, where none is named.
IMPORTED = "imported"
_NAME = re.compile(r"(?P<task>[^/]*)/(?P<method>[^/]*)-seed(?P<seed>[0-9]{1,20})")

Arrays = Mapping[str, np.ndarray]


class EntryName(NamedTuple):
    """The name of an entry, written as `mrpc/dtvg-seed42`."""

    task: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.task}/{self.method}-seed{self.seed}"

    @property
    def flat(self) -> str:
        """The name as one file name."""
        return str(self).replace("/", "-")


def name_of(run: Run) -> EntryName:
    """Names the entry of a run."""
    method = STAGE1 if run.stage == 1 else run.setting
    return EntryName(run.task, method, run.seed)


def parse(name: str) -> EntryName:
    """Parses the name of an entry; raises InputError for any other text."""
    found = _match(name)
    if found is None:
        raise InputError(
            f"{shown(name)} is not the name of a stored prompt: a name is a task, a "
            "method and a seed, such as 'mrpc/dtvg-seed42'"
        )
    return EntryName(found["task"], found["method"], int(found["seed"]))


def is_name(name: str) -> bool:
    """Tells whether a text is the name of an entry."""
    return _match(name) is not None


def _match(name: str) -> re.Match[str] | None:
    found = _NAME.fullmatch(name)
    if found is None or not all(map(can_name_a_file, found.group("task", "method"))):
        return None
    return found


@dataclasses.dataclass(frozen=True)
class Metadata:
    """The record in entry.json: what a prompt is, what it fits, how it was learned.

    The stage, step, data or backbone of an imported prompt may be unknown: None.

    Attributes:
      settings: of the method: its class and hyper-parameters.
      trial: what a search tried; `stopped` is the step at which it stopped the run.
      step: the step that validated best; `metrics` are its validation scores.
      failed: why training ended early.
      sources: the tasks that the array "group" is about.
      lengths: most tokens of an input and of a target, [2].
      split_digests: of the rows by split: "train", "validation", "test".
      width: H; prompt_length: P.
      files: sha256 by file name.
    """

    task: str
    method: str
    seed: int
    stage: int | None = None
    variant: str = ""
    trial: Trial | None = None
    stopped: int | None = None
    settings: Mapping[str, object] | None = None
    step: int | None = None
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    failed: str | None = None
    sources: Sequence[str] | None = None
    label_style: str | None = None
    lengths: Sequence[int] | None = None
    split_digests: Mapping[str, str] | None = None
    backbone: str | None = None
    backbone_digest: str | None = None
    backbone_config: Mapping[str, object] | None = None
    vocabulary_digest: str | None = None
    prompt_length: int | None = None
    width: int | None = None
    p_init_digest: str | None = None
    imported_from: str | None = None
    prompt_digest: str = ""
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    format: int = FORMAT

    @property
    def name(self) -> EntryName:
        """The name of the entry."""
        run = Run(self.stage or 0, self.task, self.method, self.seed, self.variant)
        return name_of(run._replace(trial=self.trial))


class Fit(NamedTuple):
    """What an entry must agree with; None: any value."""

    backbone_digest: str | None = None
    vocabulary_digest: str | None = None
    prompt_length: int | None = None
    width: int | None = None
    p_init_digest: str | None = None
    backbone_config: Mapping[str, object] | None = None

    def differences(self, metadata: Metadata) -> list[str]:
        """Lists the fields of an entry that differ from what is asked."""
        asked = self._asdict()
        config, was = asked.pop("backbone_config"), metadata.backbone_config or {}
        changed = [
            f"{name} of the backbone's config is {was[name]!r}, needed is "
            f"{config.get(name)!r}"
            for name in sorted(was)
            if config is not None and was[name] != config.get(name)
        ]
        if changed:
            del asked["backbone_digest"]  # it differs for that reason
        return changed + [
            f"{field} is {getattr(metadata, field)!r}, needed is {value!r}"
            for field, value in asked.items()
            if value is not None and getattr(metadata, field) != value
        ]


def fit(model: backbone.Backbone) -> Fit:
    """Gives what an entry must agree with to be used with a backbone."""
    return Fit(
        backbone_digest=model.digest,
        vocabulary_digest=model.vocabulary.digest,
        width=model.config.hidden_size,
        backbone_config=backbone.described(model.config),
    )


class Entry(NamedTuple):
    """A stored prompt: arrays "prompt" and "tpv" [P, H], the method's own, metadata.

    Methods with groups have "target_prompt" [P, H], "target_scale" [P],
    "source_scales" [S, P] and "group" [S].

    Methods that look at rows have all arrays that a row's prompt is made of, see
    `methods.row_prompts`; "prompt" is then what every row's prompt starts from, such
    as the target's own prompt in ATTEMPT.
    """

    arrays: Arrays
    metadata: Metadata


def row_prompt_of(entry: Entry) -> RowPrompt | None:
    """Gives what a row's prompt is made of; None if all rows share one prompt."""
    if not row_prompts.are_in(entry.arrays):
        return None
    try:
        method = methods.of_settings(dict(entry.metadata.settings or {}))
    except InputError as error:
        raise InputError(f"{entry.metadata.name} looks at rows: {error}") from None
    return row_prompts.from_arrays(method, entry.arrays)


def prompts_of(found: Sequence[Entry]) -> Prompts:
    """Stacks the prompts of entries for decoding."""
    made = {k: row_prompt_of(entry) for k, entry in enumerate(found)}
    return Prompts(
        np.stack([entry.arrays["prompt"] for entry in found]),
        {k: looking for k, looking in made.items() if looking is not None},
    )
