"""JSON that is none, in every place where a job reads some: one sentence for each."""

import os
import pathlib
from collections.abc import Callable

import pytest
import tiny_job
from damage import limited

from dtvg_jax import report
from dtvg_jax.errors import InputError
from dtvg_jax.jobs import job_folder, measurements
from dtvg_jax.store import prompt_store
from dtvg_jax.training import metrics_log

# What a file holds, and what is said of it.
CONTENTS = {
    "nothing": (b"", "is not JSON (Expecting value"),
    "half": (b'{"format": 3, "a": [1,', "is not JSON (Expecting value"),
    "list": (b"[1]", "holds no JSON object"),
    "number": (b"5", "holds no JSON object"),
    "text": (b'"format"', "holds no JSON object"),
    "null": (b"null", "holds no JSON object"),
    "two objects": (b"{}{}", "is not JSON (Extra data"),
    "NaN": (b'{"format": NaN}', "NaN is not a JSON value"),
    "infinity": (b'{"format": -Infinity}', "-Infinity is not a JSON value"),
    "huge number": (b'{"format": 1e999}', "the number 1e999 is too large"),
    "many digits": (b'{"format": ' + b"9" * 5000 + b"}", "has 5000 digits"),
    "deep": (b'{"a": ' * 5000 + b"1" + b"}" * 5000, "it has more than 100 levels"),
    "a name twice": (b'{"a": 1, "a": 2}', "the name 'a' is there twice"),
    "half a pair": (b'{"a": "\\ud800"}', "is half of a surrogate pair"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "it begins with the mark of UTF-16"),
    "NUL": (b'{"a": "\0"}', "byte 7 is NUL"),
    "Latin-1": (b'{"a": "\xe4"}', "is not UTF-8 text"),
}
NOT_FILES: dict[str, tuple[Callable[[pathlib.Path], None], str]] = {
    "folder": (os.mkdir, "is a folder, not a file"),
    "pipe": (os.mkfifo, "is a pipe, socket or device, not a file"),
}


def _plan(folder):
    job_folder.check_plan(folder, job_folder.planned(tiny_job.make(folder), (), {}))


def _entry(folder):
    prompt_store.PromptStore(folder / "store").read("sst2/stage1-seed0")


def _log(folder):
    # A log that holds something is held against its seal.
    (folder / metrics_log.FILE).write_text("{}\n")
    metrics_log.MetricsLog(folder)


# What reads a file in the folder of a job.
READERS: dict[str, Callable[[pathlib.Path], object]] = {
    "plan.json": _plan,
    "results.json": report.write,
    "metrics.seal.json": _log,
    "measured/stage1.json": lambda folder: measurements.read(
        folder, "stage1", measurements.Tested, {}
    ),
    "store/sst2/stage1-seed0/entry.json": _entry,
}


@pytest.mark.parametrize("file", READERS)
@pytest.mark.parametrize("content", CONTENTS)
def test_what_is_no_json_object(tmp_path, capfd, file, content):
    held, said = CONTENTS[content]
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(held)
    check_sentence(path, file, tmp_path, capfd, said)


@pytest.mark.parametrize("file", READERS)
@pytest.mark.parametrize("place", NOT_FILES)
def test_what_is_no_file(tmp_path, capfd, file, place):
    make, said = NOT_FILES[place]
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
    check_sentence(path, file, tmp_path, capfd, said)


def check_sentence(path, file, folder, capfd, said):
    """A sentence names the file and what is wrong; measurements go on after it."""
    sentence = ""
    with limited(5):
        try:
            READERS[file](folder)
        except InputError as error:
            sentence = str(error)
    sentence = sentence or capfd.readouterr().out.strip()
    assert str(path) in sentence and said in sentence
    assert "\n" not in sentence and len(sentence) < 400
