"""Command: answer lines with stored prompts.

echo '{"task": "sst2", "sentence": "a good film"}' | python -m dtvg_jax.predict \\
    --store=jobs/quickstart/store

A line is a JSON object with the fields of its task, or with "inputs", the whole text;
or it is plain text. "prompt" names an entry of the store; otherwise --prompt holds, or
the entry of the task by --method and --seed. Answers are JSON lines, in order; a bad
line is answered with its number and what is wrong with it.
"""

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from dtvg_jax import cli, decoding, requests, store
from dtvg_jax.backbones.backbone import Backbone
from dtvg_jax.data import tokenise
from dtvg_jax.errors import InputError
from dtvg_jax.formats.load import load_backbone

STORE = flags.DEFINE_string("store", None, "Folder of prompts; none: no prompt.")
PROMPT = flags.DEFINE_string("prompt", None, "The entry for lines that name none.")
METHOD = flags.DEFINE_string("method", "dtvg", "Of a task's entry; else its stage1.")
SEED = flags.DEFINE_integer("seed", None, "Of a task's entry; the smallest if absent.")
BACKBONE = flags.DEFINE_string("backbone", "miniature", "The prompts' model.")
DTYPE = flags.DEFINE_string("dtype", "float32", "float32 or bfloat16.")
FILES = flags.DEFINE_multi_string("file", [], "A file of lines; else standard input.")
LENGTH = flags.DEFINE_integer("inputs_length", 256, "Most tokens of an input.", 2)
ANSWER = flags.DEFINE_integer("targets_length", 16, "Most tokens of an answer.", 1)
BATCH = flags.DEFINE_integer("batch_size", 32, "Rows that are answered at once.", 1)
RAW = flags.DEFINE_bool(
    "raw", False, "Take texts as they are: a Llama's without Label."
)
CACHE_DIR = flags.DEFINE_string("cache_dir", "~/.cache/dtvg_jax", "Compiled programs.")

CHUNK = 16  # batches that are read, sorted by length and answered together


class Model(NamedTuple):
    """A backbone and the prompts that it answers with."""

    backbone: Backbone
    prompts: dict[str | None, np.ndarray]
    answer: Callable[..., tuple[Any, Any]]
    label_style: str


def main(command: list[str], check: cli.Check) -> None:
    """Answers all lines, and tells the rate on standard error."""
    del command
    cli.cache_compilations(CACHE_DIR.value)
    backbone = load_backbone(BACKBONE.value, DTYPE.value)
    entries = _entries(backbone)
    styles = {e.passport.get("label_style", "digits") for e in entries.values()}
    if len(styles) > 1:
        raise InputError("the store mixes digits and words as labels: use two stores")
    width = backbone.embedding(backbone.params).shape[1]
    prompts: dict[str | None, np.ndarray] = {
        name: entry.arrays["prompt"] for name, entry in entries.items()
    }
    if len({prompt.shape for prompt in prompts.values()}) > 1:
        raise InputError("the store's prompts differ in length: use one store each")
    prompts = prompts or {None: np.zeros((0, width), np.float32)}
    model = Model(backbone, prompts, _make_answer(backbone), *(styles or {"digits"}))
    defaults = requests.Defaults(
        PROMPT.value, _by_task(entries), frozenset(entries), model.label_style
    )
    if PROMPT.value is not None and PROMPT.value not in entries:
        raise InputError(f"--prompt={PROMPT.value}: the store has no such entry")
    start, count = time.monotonic(), 0
    for answer in _answers(model, _lines(), defaults, check):
        print(json.dumps(answer, ensure_ascii=False), flush=True)
        count += 1
    seconds = time.monotonic() - start
    print(f"{count} lines in {seconds:.1f} s: {count / seconds:.0f}/s", file=sys.stderr)


def _entries(backbone: Backbone) -> dict[str, store.Entry]:
    if STORE.value is None:
        return {}
    prompt_store = store.PromptStore(STORE.value)
    names = prompt_store.names()
    if not names:
        raise InputError(
            f"{STORE.value} holds no learned prompts: give another --store"
        )
    return {n: prompt_store.read(n, backbone_digest=backbone.digest) for n in names}


def _by_task(entries: dict[str, store.Entry]) -> dict[str, str]:
    """Chooses an entry per task: of --method or else of stage 1, and of --seed."""
    found: dict[str, str] = {}
    for method in (METHOD.value, "stage1"):
        for name in sorted(entries):
            task, _, rest = name.partition("/")
            kind, _, seed = rest.rpartition("-seed")
            if kind == method and SEED.value in (None, int(seed)):
                found.setdefault(task, name)
    return found


def _lines() -> Iterator[bytes]:
    if not FILES.value:
        yield from sys.stdin.buffer
    for name in FILES.value:
        try:
            with open(name, "rb") as file:
                yield from _of(file)
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror}") from None


def _of(file: BinaryIO) -> Iterator[bytes]:
    yield from file


def _answers(
    model: Model,
    lines: Iterable[bytes],
    defaults: requests.Defaults,
    check: cli.Check,
) -> Iterator[dict[str, Any]]:
    numbered = enumerate(lines, start=1)
    while chunk := list(itertools.islice(numbered, CHUNK * BATCH.value)):
        check()
        parsed = [requests.parse(number, line, defaults) for number, line in chunk]
        worded = requests.word(parsed, model.label_style)
        good = [request for request in worded if request.error is None]
        answers = dict(zip((g.line for g in good), _run(model, good), strict=True))
        for request in worded:
            yield answers.get(request.line) or _refusal(request)


def _refusal(request: requests.Request) -> dict[str, Any]:
    return {"line": request.line, "error": request.error}


def _run(model: Model, good: Sequence[requests.Request]) -> list[dict[str, Any]]:
    """Answers requests in batches of like length; gives them in the order they came."""
    ids = _tokens(model.backbone, [request.text or "" for request in good])
    order = sorted(range(len(good)), key=lambda i: len(ids[i]))
    answers: list[dict[str, Any]] = [{} for _ in good]
    for start in range(0, len(order), BATCH.value):
        mine = order[start : start + BATCH.value]
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


def _tokens(backbone: Backbone, texts: Sequence[str]) -> list[list[int]]:
    vocabulary = backbone.vocabulary
    if RAW.value and backbone.kind == "llama":  # neither " Label : " nor an end
        room = LENGTH.value - len(vocabulary.prefix_ids)
        ids = vocabulary.encode(list(texts))
        return [[*vocabulary.prefix_ids, *row[:room]] for row in ids]
    rows = [tokenise.TextRow(text, "", None) for text in texts]
    return tokenise.tokenise(rows, vocabulary, (LENGTH.value, ANSWER.value)).inputs


def _batch(
    model: Model, ids: list[list[int]], entries: list[str | None]
) -> tuple[np.ndarray, np.ndarray]:
    # Lengths in powers of two, so that few programs are compiled.
    longest = max(len(row) for row in ids)
    length = min(1 << (longest - 1).bit_length(), LENGTH.value)
    inputs = np.full((BATCH.value, length), -1, np.int32)
    first = next(iter(model.prompts.values()))
    prompts = np.zeros((BATCH.value, *first.shape), np.float32)
    for row, (tokens, entry) in enumerate(zip(ids, entries, strict=True)):
        inputs[row, : len(tokens)] = tokens
        prompts[row] = model.prompts[entry]
    out = model.answer(model.backbone.params, prompts, inputs)
    tokens, scores = jax.device_get(out)
    return tokens, scores


def _make_answer(backbone: Backbone) -> Callable[..., tuple[Any, Any]]:
    """Builds answer(params, prompts [B, P, H], inputs [B, T]) -> tokens, log p."""

    def answer(params: Any, prompts: Any, inputs: Any) -> tuple[Any, Any]:
        [tokens] = decoding.greedy(
            backbone, params, prompts[None], inputs[None], ANSWER.value
        )
        logits = backbone.logits(params, prompts, inputs, tokens, None)
        chosen = jnp.maximum(tokens, 0)[..., None]
        found = jnp.take_along_axis(jax.nn.log_softmax(logits), chosen, axis=-1)[..., 0]
        return tokens, jnp.sum(found, axis=-1, where=tokens >= 0)

    return jax.jit(answer)


def run() -> None:
    """Entry point."""
    cli.run(main, sys.argv)


if __name__ == "__main__":
    run()
