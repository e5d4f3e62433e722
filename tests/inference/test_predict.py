"""Lines in, answers out: in order, a sentence for each bad line."""

import dataclasses
import io
import json
import os
import subprocess
import sys
import threading

import jax.numpy as jnp
import numpy as np
import pytest
from bad_lines import BAD, LONG, STORED

from dtvg_jax import methods
from dtvg_jax.cli import command
from dtvg_jax.cli.commands import predict as predict_command
from dtvg_jax.data import tokenise
from dtvg_jax.errors import InputError
from dtvg_jax.formats.load import load_backbone
from dtvg_jax.inference import predict_lines, request_lines, stored_prompts
from dtvg_jax.inference.ranking import Scoring
from dtvg_jax.methods import attempt, row_prompts
from dtvg_jax.methods.row_prompts import RowPrompt
from dtvg_jax.store import entries, prompt_store
from dtvg_jax.store.entries import Metadata

DEFAULTS = request_lines.Defaults(
    None,
    {"sst2": STORED[0], "mrpc": STORED[1], "own": STORED[3]},
    frozenset(STORED),
    "digits",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    backbone = load_backbone("miniature")
    made = prompt_store.PromptStore(tmp_path_factory.mktemp("store"))
    rng = np.random.default_rng(0)
    for name in STORED:
        prompt = rng.normal(size=(4, 96)).astype(np.float32)
        about = Metadata(
            *entries.parse(name),
            backbone_digest=backbone.digest,
            vocabulary_digest=backbone.vocabulary.digest,
        )
        made.write({"prompt": prompt}, about)
    return made.folder


def predict(folder, cache, lines: list[bytes], *flags: str):
    command = [sys.executable, "-m", "dtvg_jax.predict", f"--store={folder}"]
    command += [f"--cache_dir={cache}", "--targets_length=2", *flags]
    done = subprocess.run(
        command,
        input=b"".join(line + b"\n" for line in lines),
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def sentence(number: int) -> dict[str, str]:
    words = " ".join(["the meal was good"] * (1 + number % 5))
    return {"task": "dtvg_sst2", "sentence": words}


@pytest.mark.slow
def test_lines_are_answered_in_order_and_bad_ones_named(folder, cache):
    good = [json.dumps(sentence(i)).encode() for i in range(40)]
    lines = list(good)
    lines[3] = b'{"task": "sst2"}'
    lines[17] = b"\xff\xfe"
    lines[30] = b'{"task": "sst2", "sentence": '
    answers, err = predict(folder, cache, lines, "--batch_size=4")
    assert [answer["line"] for answer in answers] == list(range(1, 41))
    bad = {answer["line"]: answer["error"] for answer in answers if "error" in answer}
    assert bad == {
        4: "the field 'sentence' is missing: sst2 takes sentence",
        18: "not UTF-8 at byte 1",
        31: "the line is not JSON (Expecting value: column 30 (char 29))",
    }
    assert b"40 lines in" in err
    # Like lines have like answers, whatever stands beside them in a batch.
    alike = {
        (answer["prediction"], round(answer["score"], 2))
        for answer in answers
        if "error" not in answer and answer["line"] % 5 == 1
    }
    assert len(alike) == 1
    [alone], _ = predict(folder, cache, good[:1], "--batch_size=4")
    assert alone["prediction"] == answers[0]["prediction"]
    assert alone["score"] == pytest.approx(answers[0]["score"], abs=1e-3)
    assert alone["prompt"] == "sst2/dtvg-seed0"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"task": "mrpc", "inputs": "x"}', {"entry": STORED[1], "text": "x"}),
        (
            b'{"prompt": "mrpc/stage1-seed0", "inputs": "x"}',
            {"entry": STORED[2], "task": "mrpc"},
        ),
        (
            b'{"task": "sst2", "sentence": "x"}',
            {"row": {"sentence": "x"}, "entry": STORED[0]},
        ),
        (b'{"task": null, "prompt": "mrpc/stage1-seed0", "inputs": ""}', {"text": ""}),
        (
            b'{"task": "sst2", "prompt": "mrpc/stage1-seed0", "sentence": "x"}',
            {"entry": STORED[2], "task": "sst2"},
        ),
        (
            b'\xef\xbb\xbf{"task": "mrpc", "inputs": "x"}\r\n',
            {"entry": STORED[1], "text": "x"},
        ),
        (b'{"task": "own", "inputs": "x"}', {"entry": STORED[3], "text": "x"}),
    ],
)
def test_what_a_line_says(line, expected):
    request = request_lines.parse(7, line, DEFAULTS)
    assert request.line == 7
    assert {name: getattr(request, name) for name in expected} == expected


@pytest.mark.parametrize("line, said", BAD, ids=[said[:60] for _, said in BAD])
def test_a_bad_line_is_an_error_of_its_own(line, said):
    error = request_lines.parse(2, line, DEFAULTS).error
    assert error is not None and error.startswith(said)
    assert error == said or said.startswith("unknown task")


@pytest.mark.parametrize(
    ("line", "style", "found"),
    [
        (b'{"task": "sst2", "sentence": "x"}', "digits", ("0", "1")),
        (b'{"task": "sst2", "sentence": "x"}', "words", ("negative", "positive")),
        (b'{"prompt": "mrpc/stage1-seed0", "inputs": "x"}', "digits", ("0", "1")),
        (
            b'{"task": "mnli", "prompt": "mrpc/stage1-seed0", "inputs": "x"}',
            "digits",
            ("0", "1", "2"),
        ),
        (
            b'{"task": "squad", "prompt": "mrpc/stage1-seed0", "inputs": "x"}',
            "digits",
            "the answers of squad are no fixed labels, so they cannot be ranked: use "
            "--scoring=greedy",
        ),
        (
            b'{"task": "own", "inputs": "x"}',
            "digits",
            "own is a task of your own: name its module by --tasks_module",
        ),
        (
            b'{"prompt": "dtvg_sources/stage1-seed0", "inputs": "x"}',
            "digits",
            'dtvg_sources is a mixture: name the line\'s own "task"',
        ),
    ],
)
def test_labels_that_a_line_ranks(line, style, found):
    known = frozenset([*STORED, "dtvg_sources/stage1-seed0"])
    defaults = DEFAULTS._replace(scoring=Scoring.RANK, label_style=style, known=known)
    request = request_lines.parse(1, line, defaults)
    assert found in (request.error, request.labels)


def test_plain_lines_rank_the_labels_of_the_prompts_task():
    defaults = DEFAULTS._replace(scoring=Scoring.RANK, entry="mrpc/stage1-seed0")
    assert request_lines.parse(1, b"plain words", defaults).labels == ("0", "1")
    bare = request_lines.Defaults(None, {}, frozenset(), "digits", scoring=Scoring.RANK)
    assert request_lines.parse(1, b"plain words", bare).error == (
        'the line names no "task", whose labels could be ranked'
    )


def test_a_scoring_that_is_none_is_a_sentence():
    said = "unknown scoring 'ranks': did you mean 'rank'"
    settings = predict_lines.PredictSettings(scoring="ranks")  # pyright: ignore
    with pytest.raises(InputError, match=said):
        next(predict_lines.predict(load_backbone("miniature"), None, [b"x"], settings))
    with pytest.raises(InputError, match=said):
        stored_prompts.EvaluateSettings(scoring="ranks")  # pyright: ignore


def test_bad_lines_leave_the_others_alone(folder):
    backbone = load_backbone("miniature")
    good = b'{"prompt": "own/dtvg-seed0", "inputs": "the meal"}'
    lines = [line for bad, _ in BAD for line in (good, bad)]
    file = io.BytesIO(b"\n".join(lines))
    settings = predict_lines.PredictSettings(targets_length=2)
    answers = list(
        predict_lines.predict(
            backbone,
            prompt_store.PromptStore(folder),
            request_lines.split(file),
            settings,
        )
    )
    assert [answer["line"] for answer in answers] == list(range(1, 2 * len(BAD) + 1))
    assert len({answer["prediction"] for answer in answers[::2]}) == 1
    for answer, (_, said) in zip(answers[1::2], BAD, strict=True):
        assert answer.keys() == {"line", "error"} and answer["error"].startswith(said)


def test_a_line_without_end_is_not_kept_in_memory():
    file = io.BytesIO(b"a\n" + b"x" * (3 * LONG) + b"\nb")
    first, long, last = request_lines.split(file)
    assert (first, len(long), last) == (b"a\n", LONG, b"b")


def test_a_text_may_begin_with_a_quotation():
    bare = request_lines.Defaults(None, {}, frozenset(), "digits")
    for text in (b'"Fine," he said', b"[sic] fine", b"42", b"null"):
        assert request_lines.parse(1, text, bare).text == text.decode()


def test_an_imported_prompt_takes_the_label_style_of_the_others(tmp_path):
    backbone = load_backbone("miniature")
    store = prompt_store.PromptStore(tmp_path)
    for name, style in (("sst2/dtvg-seed0", "words"), ("mrpc/imported-seed0", None)):
        about = Metadata(
            *entries.parse(name),
            backbone_digest=backbone.digest,
            vocabulary_digest=backbone.vocabulary.digest,
            label_style=style,
        )
        store.write({"prompt": np.ones((4, 96), np.float32)}, about)
    line = b'{"prompt": "mrpc/imported-seed0", "inputs": "x"}'
    [answer] = predict_lines.predict(backbone, store, [line])
    assert answer["prompt"] == "mrpc/imported-seed0"


@pytest.mark.parametrize(
    "named, said",
    [
        ("absent.jsonl", "there is no file absent.jsonl"),
        (".", ". is a folder: give a file of lines"),
        ("", "--file is empty: give a value, or leave it out"),
    ],
)
def test_a_file_that_is_none_is_said_before_any_is_answered(
    tmp_path, monkeypatch, capsys, named, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.jsonl").write_text('{"inputs": "x"}\n')
    with pytest.raises(SystemExit) as end:
        command.run(
            predict_command.COMMAND, ["predict", "--file=good.jsonl", f"--file={named}"]
        )
    assert end.value.code == 2
    assert capsys.readouterr() == ("", f"error: {said}\n")


def test_a_named_pipe_is_a_file_of_lines(tmp_path):
    """As `--file=<(zcat lines.jsonl.gz)` gives one."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"a\nb"))
    writer.start()
    [file] = predict_command.opened([str(pipe)])
    assert list(request_lines.split(file)) == [b"a\n", b"b"]
    writer.join()


@pytest.mark.slow
def test_each_line_has_a_prompt_of_its_own_where_the_method_looks(tmp_path):
    """The answers are those with the lines' prompts made beforehand, one by one."""
    backbone, rng = load_backbone("miniature"), np.random.default_rng(0)
    p_init, start, *sources = rng.normal(size=(4, 4, 96)).astype(np.float32)
    arrays = p_init, np.stack(sources), start, np.ones(2, bool), np.uint32(0)
    context = methods.Context(*map(jnp.asarray, arrays))
    method = attempt.Attempt(tau=-1.0, variant="sharp")
    lane = RowPrompt(method, context.start, method.init(context)[0], context)
    texts = ["the meal", "a dog and a cat were in the house", "who"]
    rows = [tokenise.TextRow(text, "", None) for text in texts]
    ids = tokenise.tokenise(rows, backbone.vocabulary, (64, 2)).inputs
    embedding = backbone.embedding(backbone.params)
    real = [jnp.ones((1, len(row)), bool) for row in ids]
    made = [
        np.asarray(lane.of_rows(embedding[np.array(row)][None], which)[0])
        for row, which in zip(ids, real, strict=True)
    ]
    assert np.abs(made[0] - made[1]).max() > 0.01
    store = prompt_store.PromptStore(tmp_path)
    known = Metadata(
        "mrpc",
        "attempt",
        0,
        variant="sharp",
        settings=method.settings,
        backbone_digest=backbone.digest,
        vocabulary_digest=backbone.vocabulary.digest,
    )
    own = {"prompt": np.asarray(lane.prompt), **row_prompts.as_arrays(lane)}
    store.write(own, known)
    for seed, prompt in enumerate(made):
        plain = {"method": "plain", "variant": "", "seed": seed, "settings": None}
        store.write({"prompt": prompt}, dataclasses.replace(known, **plain))
    names = ["mrpc/attempt+sharp-seed0"] * 3
    names += [f"mrpc/plain-seed{seed}" for seed in range(3)]
    lines = [
        json.dumps({"prompt": name, "inputs": text}).encode()
        for name, text in zip(names, texts * 2, strict=True)
    ]
    settings = predict_lines.PredictSettings(inputs_length=64, targets_length=2)
    answers = list(predict_lines.predict(backbone, store, lines, settings))
    for answer, expected in zip(answers[:3], answers[3:], strict=True):
        assert answer["prediction"] == expected["prediction"]
        assert answer["score"] == pytest.approx(expected["score"], abs=1e-3)
    # A class that nobody has imported is named, and not imported.
    settings_of = method.settings | {"class": "this:Looking"}
    store.write(own, dataclasses.replace(known, seed=1, settings=settings_of))
    with pytest.raises(
        InputError, match="sharp-seed1 looks at rows: the method 'this:"
    ):
        list(predict_lines.predict(backbone, store, lines, settings))
    assert "this" not in sys.modules


def test_truncated_and_empty_inputs_are_said():
    backbone = load_backbone("miniature")
    settings = predict_lines.PredictSettings(inputs_length=4, targets_length=2)
    lines = [b"the meal", b"the meal was good and so was the view"]
    short, long = predict_lines.predict(backbone, None, lines, settings)
    assert "truncated" not in short and long["truncated"] is True


def test_plain_lines_need_no_prompt_without_a_store():
    bare = request_lines.Defaults(None, {}, frozenset(), "digits")
    assert request_lines.parse(1, b"The capital\n", bare).text == "The capital"
