"""Lines answered with stored prompts: in order, batched by length."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dtvg_jax.data import tokenise
from dtvg_jax.errors import InputError
from dtvg_jax.inference import decoding, request_lines
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.store import prompt_store

CHUNK = 16  # batches that are read, sorted by length and answered together


class Settings(NamedTuple):
    """How lines are answered.

    prompt: the entry for lines that name none; otherwise a task's entry is that of
        `method`, or else of stage 1, and of `seed`, or the smallest.
    raw: texts are taken as they are, a Llama's without " Label : ".
    """

    prompt: str | None = None
    method: str = "dtvg"
    seed: int | None = None
    inputs_length: int = 256
    targets_length: int = 16
    batch_size: int = 32
    raw: bool = False


class _Model(NamedTuple):
    backbone: Backbone
    prompts: dict[str | None, np.ndarray]
    answer: Callable[..., tuple[Any, Any]]
    label_style: str
    settings: Settings


def predict(
    backbone: Backbone,
    prompt_store: prompt_store.PromptStore | None,
    lines: Iterable[bytes],
    settings: Settings = Settings(),  # noqa: B008 (immutable)
    check: Callable[[], None] = lambda: None,
) -> Iterator[dict[str, Any]]:
    """Answers lines (see `request_lines.parse`) with stored prompts, or without any.

    Yields an answer per line, in order: "line", "task", "prompt", "prediction" and
    "score", the log-probability of the prediction; or "line" and "error". Raises
    InputError for a store that is empty or holds prompts that cannot be batched.
    """
    entries = _entries(backbone, prompt_store)
    styles = {e.passport.get("label_style", "digits") for e in entries.values()}
    if len(styles) > 1:
        raise InputError("the store mixes digits and words as labels: use two stores")
    width = backbone.embedding(backbone.params).shape[1]
    prompts: dict[str | None, np.ndarray] = {
        name: entry.arrays["prompt"] for name, entry in entries.items()
    }
    if len({prompt.shape for prompt in prompts.values()}) > 1:
        raise InputError("the store's prompts differ in length: use one store each")
    if settings.prompt is not None and settings.prompt not in entries:
        raise InputError(f"there is no prompt {settings.prompt!r} in the store")
    prompts = prompts or {None: np.zeros((0, width), np.float32)}
    answer = _make_answer(backbone, settings.targets_length)
    [style] = styles or {"digits"}
    model = _Model(backbone, prompts, answer, style, settings)
    defaults = request_lines.Defaults(
        settings.prompt, _by_task(entries, settings), frozenset(entries), style
    )
    yield from _answers(model, lines, defaults, check)


def _entries(
    backbone: Backbone, prompt_store: prompt_store.PromptStore | None
) -> dict[str, prompt_store.Entry]:
    if prompt_store is None:
        return {}
    names = prompt_store.names()
    if not names:
        raise InputError(f"{prompt_store.folder} holds no learned prompts")
    return {n: prompt_store.read(n, backbone_digest=backbone.digest) for n in names}


def _by_task(
    entries: dict[str, prompt_store.Entry], settings: Settings
) -> dict[str, str]:
    """Chooses an entry per task: of the method or else of stage 1, and of the seed."""
    found: dict[str, str] = {}
    for method in (settings.method, "stage1"):
        for name in sorted(entries):
            task, _, rest = name.partition("/")
            kind, _, seed = rest.rpartition("-seed")
            if kind == method and settings.seed in (None, int(seed)):
                found.setdefault(task, name)
    return found


def _answers(
    model: _Model,
    lines: Iterable[bytes],
    defaults: request_lines.Defaults,
    check: Callable[[], None],
) -> Iterator[dict[str, Any]]:
    numbered = enumerate(lines, start=1)
    while chunk := list(itertools.islice(numbered, CHUNK * model.settings.batch_size)):
        check()
        parsed = [request_lines.parse(number, line, defaults) for number, line in chunk]
        worded = request_lines.word(parsed, model.label_style)
        good = [request for request in worded if request.error is None]
        answers = dict(zip((g.line for g in good), _run(model, good), strict=True))
        for request in worded:
            yield answers.get(request.line) or _refusal(request)


def _refusal(request: request_lines.Request) -> dict[str, Any]:
    return {"line": request.line, "error": request.error}


def _run(model: _Model, good: Sequence[request_lines.Request]) -> list[dict[str, Any]]:
    """Answers requests in batches of like length; gives them in the order they came."""
    ids = _tokens(model, [request.text or "" for request in good])
    order = sorted(range(len(good)), key=lambda i: len(ids[i]))
    answers: list[dict[str, Any]] = [{} for _ in good]
    for start in range(0, len(order), model.settings.batch_size):
        mine = order[start : start + model.settings.batch_size]
        tokens, scores = _batch(
            model, [ids[i] for i in mine], [good[i].entry for i in mine]
        )
        texts = model.backbone.vocabulary.decode(tokens[: len(mine)].tolist())
        for i, text, score in zip(mine, texts, scores, strict=False):
            answers[i] = {
                "line": good[i].line,
                "task": good[i].task,
                "prompt": good[i].entry,
                "prediction": text.strip(),
                "score": round(float(score), 4),
            }
    return answers


def _tokens(model: _Model, texts: Sequence[str]) -> list[list[int]]:
    vocabulary, settings = model.backbone.vocabulary, model.settings
    if settings.raw and model.backbone.decoder_only:  # neither " Label : " nor an end
        room = settings.inputs_length - len(vocabulary.prefix_ids)
        ids = vocabulary.encode(list(texts))
        return [[*vocabulary.prefix_ids, *row[:room]] for row in ids]
    rows = [tokenise.TextRow(text, "", None) for text in texts]
    return tokenise.tokenise(
        rows, vocabulary, (settings.inputs_length, settings.targets_length)
    ).inputs


def _batch(
    model: _Model, ids: list[list[int]], entries: list[str | None]
) -> tuple[np.ndarray, np.ndarray]:
    # Lengths in powers of two, so that few programs are compiled.
    longest = max(len(row) for row in ids)
    length = min(1 << (longest - 1).bit_length(), model.settings.inputs_length)
    inputs = np.full((model.settings.batch_size, length), -1, np.int32)
    first = next(iter(model.prompts.values()))
    prompts = np.zeros((model.settings.batch_size, *first.shape), np.float32)
    for row, (tokens, entry) in enumerate(zip(ids, entries, strict=True)):
        inputs[row, : len(tokens)] = tokens
        prompts[row] = model.prompts[entry]
    out = model.answer(model.backbone.params, prompts, inputs)
    tokens, scores = jax.device_get(out)
    return tokens, scores


def _make_answer(backbone: Backbone, length: int) -> Callable[..., tuple[Any, Any]]:
    """Builds answer(params, prompts [B, P, H], inputs [B, T]) -> tokens, log p."""

    def answer(params: Any, prompts: Any, inputs: Any) -> tuple[Any, Any]:
        [tokens] = decoding.greedy(
            backbone, params, prompts[None], inputs[None], length
        )
        logits = backbone.logits(params, prompts, inputs, tokens, None)
        chosen = jnp.maximum(tokens, 0)[..., None]
        found = jnp.take_along_axis(jax.nn.log_softmax(logits), chosen, axis=-1)[..., 0]
        return tokens, jnp.sum(found, axis=-1, where=tokens >= 0)

    return jax.jit(answer)
