"""Lines answered with stored prompts: in order, batched by length."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypedDict

import jax
import numpy as np
from jaxtyping import Array, Int

from dtvg_jax.data import catalogue, source, tokenise
from dtvg_jax.data.buckets import bucket
from dtvg_jax.errors import InputError
from dtvg_jax.inference import decoding, ranking, request_lines
from dtvg_jax.inference.ranking import Rank, Scoring
from dtvg_jax.methods.row_prompts import RowPrompt
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.shapes import Params
from dtvg_jax.store import entries
from dtvg_jax.store.entries import Entry
from dtvg_jax.store.prompt_store import PromptStore
from dtvg_jax.training import placement
from dtvg_jax.training.placement import Placement

# Most tokens of an input and of an answer, of a prompt that does not say its own.
LENGTHS = (256, 16)
# Sorted by length together, so that little of a batch is padding.
CHUNK = 16  # batches that are read, sorted by length and answered together


class PredictSettings(NamedTuple):
    """How lines are answered.

    prompt: the entry for lines that name none; otherwise a task's entry is that of
        `method`, or else of stage 1, and of `seed`, or the smallest.
    inputs_length, targets_length: the most tokens of an input and of an answer; None:
        those that the prompt was learned with.
    tasks_module: registers the tasks that are not in the catalogue.
    raw: texts are taken as they are, a Llama's without " Label : ".
    scoring: decode, or compare the labels of a line's task.
    """

    prompt: str | None = None
    method: str = "dtvg"
    seed: int | None = None
    inputs_length: int | None = None
    targets_length: int | None = None
    batch_size: int = 32
    tasks_module: str = catalogue.ALL
    raw: bool = False
    scoring: Scoring = Scoring.GREEDY


class Answered(TypedDict, total=False):
    """A line's answer: "line", and what was found or "error"."""

    line: int
    task: str | None
    prompt: str | None
    prediction: str
    score: float  # log-probability of the prediction
    truncated: bool  # present where the input was longer than inputs_length
    error: str


Lengths = tuple[int, int]
Answer = Callable[[Params, np.ndarray | RowPrompt, np.ndarray, int], decoding.Decoded]


class _Model(NamedTuple):
    backbone: Backbone
    placement: Placement
    prompts: dict[str | None, np.ndarray]
    looking: dict[str | None, RowPrompt]  # of `prompts` those that look at rows
    lengths: dict[str | None, Lengths]
    answer: Answer
    rank: Rank
    settings: PredictSettings


def predict(
    backbone: Backbone,
    learned: PromptStore | None,
    lines: Iterable[bytes],
    settings: PredictSettings = PredictSettings(),  # noqa: B008 (immutable)
) -> Iterator[Answered]:
    """Answers lines (see `request_lines.parse`) with stored prompts, or without any.

    Yields an answer per line, in order. Raises InputError for a store that is empty or
    holds prompts that cannot be batched, and for a module that cannot be imported.
    """
    ranking.check_scoring(settings.scoring)
    if settings.tasks_module != catalogue.ALL:
        catalogue.check_module(settings.tasks_module)
        source.import_tasks(settings.tasks_module)
    found = _read(backbone, learned)
    style = _label_style(found)
    prompts: dict[str | None, np.ndarray] = {
        name: entry.arrays["prompt"] for name, entry in found.items()
    }
    if len({prompt.shape for prompt in prompts.values()}) > 1:
        raise InputError("the store's prompts differ in length: use one store each")
    if settings.prompt is not None and settings.prompt not in found:
        raise InputError(f"there is no prompt {settings.prompt!r} in the store")
    backbone, place = placement.spread(backbone)
    width = backbone.embedding(backbone.params).shape[1]
    prompts = prompts or {None: np.zeros((0, width), np.float32)}
    looking = {name: entries.row_prompt_of(entry) for name, entry in found.items()}
    model = _Model(
        backbone,
        place,
        prompts,
        {name: one for name, one in looking.items() if one is not None},
        {name: _lengths(found[name] if name else None, settings) for name in prompts},
        _make_answer(backbone),
        ranking.make_rank(backbone),
        settings,
    )
    defaults = request_lines.Defaults(
        settings.prompt,
        _by_task(found, settings),
        frozenset(found),
        style,
        settings.tasks_module,
        settings.scoring,
    )
    yield from _answers(model, lines, defaults)


def _label_style(found: Mapping[str, Entry]) -> str:
    """Gives the one label style of prompts, which lines are formatted in."""
    # An imported prompt has no style: it takes that of the others.
    given = (entry.metadata.label_style for entry in found.values())
    styles = {style for style in given if style is not None}
    if len(styles) > 1:
        raise InputError("the store mixes digits and words as labels: use two stores")
    [style] = styles or {"digits"}
    return style


def _read(backbone: Backbone, learned: PromptStore | None) -> dict[str, Entry]:
    if learned is None:
        return {}
    names = learned.names()
    if not names:
        raise InputError(f"{learned.folder} holds no learned prompts")
    return {name: learned.read(name, entries.fit(backbone)) for name in names}


def _lengths(entry: Entry | None, settings: PredictSettings) -> Lengths:
    """Gives the lengths of rows with a prompt: as set, or as it was learned with."""
    inputs, targets = (entry.metadata.lengths if entry else None) or LENGTHS
    return settings.inputs_length or inputs, settings.targets_length or targets


def _by_task(names: Iterable[str], settings: PredictSettings) -> dict[str, str]:
    """Chooses an entry per task: of the method or else of stage 1, and of the seed."""
    found: dict[str, str] = {}
    for method in (settings.method, entries.STAGE1):
        for name in sorted(map(entries.parse, names), key=lambda name: name.seed):
            if name.method == method and settings.seed in (None, name.seed):
                found.setdefault(name.task, str(name))
    return found


def _answers(
    model: _Model,
    lines: Iterable[bytes],
    defaults: request_lines.Defaults,
) -> Iterator[Answered]:
    numbered = enumerate(lines, start=1)
    while chunk := list(itertools.islice(numbered, CHUNK * model.settings.batch_size)):
        parsed = [request_lines.parse(number, line, defaults) for number, line in chunk]
        requests = request_lines.format_rows(parsed, defaults)
        good = [request for request in requests if request.error is None]
        answers = dict(zip((g.line for g in good), _run(model, good), strict=True))
        for request in requests:
            yield answers.get(request.line) or _refusal(request.line, request.error)


def _refusal(line: int, error: str | None) -> Answered:
    return {"line": line, "error": str(error)}


def _run(model: _Model, good: Sequence[request_lines.Request]) -> list[Answered]:
    """Answers requests in batches of like length; gives them in the order they came."""
    ids, truncated = _tokens(model, good)
    nothing = "the text has no tokens, so there is nothing to answer"
    answers = [_refusal(request.line, nothing) for request in good]
    for mine in _batched(model, ids, good):
        found = _batch(model, [ids[i] for i in mine], [good[i] for i in mine])
        for i, (text, score) in zip(mine, found, strict=True):
            answers[i] = {
                "line": good[i].line,
                "task": good[i].task,
                "prompt": good[i].entry,
                "prediction": text,
                "score": round(float(score), 4),
            }
            if truncated[i]:
                answers[i]["truncated"] = True
    return answers


def _tokens(
    model: _Model, good: Sequence[request_lines.Request]
) -> tuple[list[list[int]], list[bool]]:
    """Gives the ids of each text, and whether it was truncated."""
    ids: list[list[int]] = [[] for _ in good]
    truncated = [False for _ in good]
    of_row = [model.lengths[request.entry] for request in good]
    for lengths in dict.fromkeys(of_row):
        mine = [i for i, own in enumerate(of_row) if own == lengths]
        found = _encode(model, [good[i].text or "" for i in mine], lengths)
        for i, tokens, is_long in zip(mine, *found, strict=True):
            ids[i], truncated[i] = tokens, is_long
    return ids, truncated


def _encode(
    model: _Model, texts: Sequence[str], lengths: Lengths
) -> tuple[list[list[int]], list[bool]]:
    vocabulary = model.backbone.vocabulary
    if model.settings.raw and model.backbone.decoder_only:
        # Neither " Label : " nor an end token.
        room = lengths[0] - len(vocabulary.prefix_ids)
        ids = vocabulary.encode(list(texts))
        truncated = [len(row) > room for row in ids]
        return [[*vocabulary.prefix_ids, *row[:room]] for row in ids], truncated
    rows = [tokenise.TextRow(text, "", None) for text in texts]
    tokens = tokenise.tokenise(rows, vocabulary, lengths)
    return tokens.inputs, tokens.inputs_truncated


def _batched(
    model: _Model, ids: Sequence[Sequence[int]], good: Sequence[request_lines.Request]
) -> Iterator[list[int]]:
    """Groups the places of rows that have tokens, of like length, into batches.

    Answers of a batch may be equally long, and are of the same labels. A decoder-only
    model's rows of a batch share a prompt, whose keys and values are then computed
    once; so do rows whose prompts are made of them.
    """

    def shared(i: int) -> tuple[int, str, tuple[str, ...]]:
        entry = good[i].entry
        apart = model.backbone.decoder_only or entry in model.looking
        return model.lengths[entry][1], (entry or "") if apart else "", good[i].labels

    size = model.settings.batch_size
    order = sorted(
        (i for i in range(len(good)) if ids[i]), key=lambda i: (shared(i), len(ids[i]))
    )
    for _, group in itertools.groupby(order, shared):
        while mine := list(itertools.islice(group, size)):
            yield mine


def _batch(
    model: _Model, ids: list[list[int]], requests: Sequence[request_lines.Request]
) -> Iterator[tuple[str, float]]:
    """Answers a batch; its shape is one of few, so that few programs are compiled.

    Gives each answer with its log-probability.
    """
    entries = [request.entry for request in requests]
    longest = max(len(row) for row in ids)
    bound = max(model.lengths[entry][0] for entry in entries)
    length = bucket(longest, bound)
    count = min(1 << (len(ids) - 1).bit_length(), model.settings.batch_size)
    count = model.placement.filled(count)
    inputs = np.full((count, length), -1, np.int32)
    for row, tokens in enumerate(ids):
        inputs[row, : len(tokens)] = tokens
    first = entries[0]
    prompt = model.looking.get(first, model.prompts[first])
    if not (model.backbone.decoder_only or first in model.looking):
        filled = [*entries, *entries[:1] * (count - len(entries))]
        prompt = np.stack([model.prompts[entry] for entry in filled])
    place = model.placement
    given = model.backbone.params, place.put_whole(prompt), place.put_rows(inputs)
    if labels := requests[0].labels:
        targets = ranking.label_ids(model.backbone.vocabulary, [labels])
        targets = place.put_rows(np.repeat(targets, count, axis=0))
        scores = place.fetch(model.rank(*given, targets))[: len(ids)]
        return zip(ranking.likeliest(labels, scores), scores.max(axis=1), strict=True)
    found = place.fetch(model.answer(*given, model.lengths[first][1]))
    texts = model.backbone.vocabulary.decode(found.tokens[: len(ids)].tolist())
    return zip(map(str.strip, texts), found.scores[: len(ids)], strict=True)


def _make_answer(backbone: Backbone) -> Answer:
    """Builds answer(params, prompt, inputs [B, T], length)."""

    def answer(
        params: Params, prompt: decoding.Prompt, inputs: Int[Array, "B T"], length: int
    ) -> decoding.Decoded:
        return decoding.greedy(backbone, params, prompt, inputs, length)

    return jax.jit(answer, static_argnums=3)
