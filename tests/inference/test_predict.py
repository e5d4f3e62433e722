"""Lines in, answers out: in order, a sentence for each bad line."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from dtvg_jax.data import raw_rows
from dtvg_jax.errors import InputError
from dtvg_jax.formats.load import load_backbone
from dtvg_jax.inference import predict_lines, request_lines
from dtvg_jax.store import entries, prompt_store
from dtvg_jax.store.entries import Metadata

NAMES = ("sst2/dtvg-seed0", "mrpc/dtvg-seed0", "mrpc/stage1-seed0")
DEFAULTS = request_lines.Defaults(
    None, {"sst2": NAMES[0], "mrpc": NAMES[1]}, frozenset(NAMES), "digits"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    backbone = load_backbone("miniature")
    made = prompt_store.PromptStore(tmp_path_factory.mktemp("store"))
    rng = np.random.default_rng(0)
    for name in NAMES:
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
        4: "the field 'sentence' is missing",
        18: "not UTF-8 at byte 1",
        31: "not JSON: Expecting value at column 30",
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


def test_rows_are_worded_as_in_training():
    rows = [{"sentence1": "a b", "sentence2": "c"}, {"sentence1": "d", "sentence2": ""}]
    assert raw_rows.texts("mrpc", "digits", rows) == [
        "mrpc sentence1: a b sentence2: c",
        "mrpc sentence1: d sentence2: ",
    ]
    assert raw_rows.preprocessor("mrpc", "digits")[1] == ("sentence1", "sentence2")
    with pytest.raises(InputError, match='rows of squad are not plain texts: give "in'):
        raw_rows.preprocessor("squad", "digits")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"task": "mrpc", "inputs": "x"}', {"entry": NAMES[1], "text": "x"}),
        (
            b'{"prompt": "mrpc/stage1-seed0", "inputs": "x"}',
            {"entry": NAMES[2], "task": "mrpc"},
        ),
        (
            b'{"task": "sst2", "sentence": "x"}',
            {"row": {"sentence": "x"}, "entry": NAMES[0]},
        ),
        (b"plain words", {"error": "the line names neither"}),
        (b"", {"error": "the line is empty"}),
        (b'{"task": "sst"}', {"error": "unknown task 'sst': did you mean 'sst2'?"}),
        (b'{"task": "rte", "inputs": ""}', {"error": "the store has no prompt of rte"}),
        (b'{"task": "sst2", "sentence": 3}', {"error": "is 3: it must be text"}),
        (b'{"prompt": ["a"], "inputs": ""}', {"error": "there is no prompt ['a'] in"}),
    ],
)
def test_what_a_line_says(line, expected):
    request = request_lines.parse(7, line, DEFAULTS)
    assert request.line == 7
    for name, value in expected.items():
        found = getattr(request, name)
        assert value in found if name == "error" else found == value


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b'{"task": "sst2", "sentence": "a \\ud800 b"}', "half of a surrogate pair"),
        (b'{"task": "sst2", "sentence": ' + b"1" * 5000 + b"}", "not JSON that can be"),
        (b'{"a": ' + b"[" * 100_000 + b"}", "nested too deeply"),
        (b'{"task": "reviews", "inputs": "x"}', "unknown task 'reviews'"),
        (b'{"prompt": "own/dtvg-seed0", "review": "x"}', "own is a task of your own"),
    ],
)
def test_a_bad_line_is_an_error_of_its_own(line, error):
    known = DEFAULTS._replace(known=frozenset([*NAMES, "own/dtvg-seed0"]))
    assert error in str(request_lines.parse(2, line, known).error)


def test_a_byte_order_mark_is_no_text():
    line = b"\xef\xbb\xbf" + b'{"task": "mrpc", "inputs": "x"}'
    assert request_lines.parse(1, line, DEFAULTS).text == "x"


def test_a_task_of_your_own_is_known_by_its_prompt():
    own = "own/dtvg-seed0"
    known = DEFAULTS._replace(known=frozenset([own]), entries={"own": own})
    request = request_lines.parse(2, b'{"task": "own", "inputs": "x"}', known)
    assert (request.entry, request.text) == (own, "x")


def test_truncated_and_empty_inputs_are_said():
    backbone = load_backbone("miniature")
    settings = predict_lines.PredictSettings(inputs_length=4, targets_length=2)
    lines = [b"the meal", b"the meal was good and so was the view"]
    short, long = predict_lines.predict(backbone, None, lines, settings)
    assert "truncated" not in short and long["truncated"] is True


def test_plain_lines_need_no_prompt_without_a_store():
    bare = request_lines.Defaults(None, {}, frozenset(), "digits")
    assert request_lines.parse(1, b"The capital\n", bare).text == "The capital"
