"""docs/own_task.md, executed; and what is said of a user's files that are bad."""

import json
import re
import sys

import fake_table
import numpy as np
import pytest
from own_task_rows import ANSWERS, DOC, REVIEWS

import dtvg_jax as dtvg
from dtvg_jax import files
from dtvg_jax.data import raw_rows, source
from dtvg_jax.data.token_table import TableSettings, token_table
from dtvg_jax.errors import InputError
from dtvg_jax.inference import request_lines
from dtvg_jax.inference.predict_lines import PredictSettings
from dtvg_jax.jobs import token_tables
from dtvg_jax.jobs.job import Job
from tasks import metrics
from tasks.miniature import datasets

BLOCKS = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)
JSON, CSV, TFDS, LOOK, LEARN = BLOCKS
MODULES = {"my_tasks": JSON, "my_csv_tasks": CSV, "my_tfds_tasks": TFDS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder: the modules of the document, importable, and their data."""
    made = tmp_path_factory.mktemp("user")
    for name, code in MODULES.items():
        (made / f"{name}.py").write_text(code)
    for split in ("train", "validation", "test"):
        (made / f"{split}.jsonl").write_text(REVIEWS)
        (made / f"{split}.csv").write_text(ANSWERS)
    datasets.write(made / "data", builders=["glue/rte:2.0.0"])
    sys.path.insert(0, str(made))
    yield made
    sys.path.remove(str(made))


def open_table(task, cache, split="train", **changes):
    settings = {
        "vocabulary": fake_table.ByteVocabulary(),
        "lengths": (64, 8),
        "cache_dir": cache,
    } | changes
    shots = settings.pop("shots", None)
    return token_table(task, split, TableSettings(**settings), shots)


@pytest.mark.parametrize("name", MODULES)
def test_an_example_is_short_and_shown_with_its_name(name):
    assert len(MODULES[name].splitlines()) < 30
    assert f"`{name}.py`" in DOC.read_text()


def test_the_document_shows_the_rows_of_this_test():
    for text in (REVIEWS, ANSWERS):
        assert "".join(f"    {line}\n" for line in text.splitlines()) in DOC.read_text()


def test_json_lines(folder, tmp_path):
    for split in ("train", "validation", "test"):
        table = open_table("reviews", tmp_path, split, tasks_module="my_tasks")
        assert fake_table.text_of(table.inputs) == (
            "sentence: the meal was dull|sentence: the novel was superb|"
        )
        assert fake_table.text_of(table.targets) == "bad|good|"
        assert table.golds == ["bad", "good"]
        assert table.scoring.metrics == (metrics.accuracy,)


@pytest.mark.parametrize(
    "task, module, line, text, labels",
    [
        (
            "reviews", "my_tasks", {"review": "the meal was dull"},
            "sentence: the meal was dull", ("bad", "good"),
        ),
        ("answers", "my_csv_tasks", {"text": "Ann lives in Rome"},
            "Ann lives in Rome", None),
        (
            "follows", "my_tfds_tasks", {"sentence1": "a b", "sentence2": "c"},
            "follows text: a b claim: c", ("yes", "no"),
        ),
    ],
)  # fmt: skip
def test_lines_by_name_and_labels(folder, task, module, line, text, labels):
    form = raw_rows.form(task, "digits", module)
    assert raw_rows.inputs(form, [raw_rows.row(form, line)]) == [text]
    assert source.scoring(form.task).labels == labels
    assert raw_rows.labels(task, "digits", module) == labels
    request = request_lines.parse(
        1,
        json.dumps({"task": task} | line).encode(),
        request_lines.Defaults(None, {task: "x"}, frozenset(), "digits", module),
    )
    [made] = request_lines.format_rows(
        [request], request_lines.Defaults(None, {}, frozenset(), "digits", module)
    )
    assert (made.error, made.text) == (None, text)


def test_few_shots_of_json_lines(folder, tmp_path):
    one = {"tasks_module": "my_tasks", "shots": ("random_k", 1, 0)}
    assert open_table("reviews", tmp_path, **one).golds in (["bad"], ["good"])
    two = {"tasks_module": "my_tasks", "shots": ("balanced_k", 2, 0)}
    assert open_table("reviews", tmp_path, **two).golds == ["bad", "good"]


def test_csv(folder, tmp_path):
    table = open_table("answers", tmp_path, tasks_module="my_csv_tasks")
    text = fake_table.text_of(table.inputs)
    assert text == "Ann lives in Rome, Ida drinks beer|"
    assert fake_table.text_of(table.targets) == "beer|"
    assert table.scoring.metrics == (sys.modules["my_csv_tasks"].words,)


def test_tfds(folder, tmp_path):
    import tensorflow_datasets as tfds

    stored = tfds.load("glue/rte:2.0.0", data_dir=folder / "data", split="train")
    rows = [
        f"follows text: {row['sentence1'].decode()} claim: {row['sentence2'].decode()}"
        for row in stored.as_numpy_iterator()
    ]
    labels = [("yes", "no")[row["label"]] for row in stored.as_numpy_iterator()]
    cut = round(0.9 * len(rows))
    for split, part in [("train", slice(cut)), ("validation", slice(cut, None))]:
        table = open_table(
            "follows",
            tmp_path,
            split,
            lengths=(10_000, 8),
            tfds_data_dir=folder / "data",
            tasks_module="my_tfds_tasks",
        )
        ids = np.split(table.inputs, table.input_offsets[1:-1])
        texts = [bytes((row[:-1] - 2).tolist()).decode() for row in ids]
        assert texts == rows[part]
        assert table.golds == labels[part]


def test_the_look_at_a_table(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(LOOK, "docs/own_task.md", "exec"), {})
    shown = DOC.read_text().split("of the two lines above,\n\n")[1].split("\n\n")[0]
    assert capsys.readouterr().out.splitlines() == [
        line.strip() for line in shown.splitlines()
    ]


@pytest.mark.slow
def test_a_prompt_is_learnt_tested_and_asked(folder, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = LEARN.replace("steps=100", "steps=2").replace("every=20", "every=2")
    code = code.replace("prompt_length", f"cache_dir={str(cache)!r}, prompt_length")
    names = {}
    exec(compile(code, "docs/own_task.md", "exec"), names)
    prompts = names["prompts"]
    assert prompts.names() == ["reviews/stage1-seed42"]
    backbone = dtvg.load_backbone("miniature")
    asked = dtvg.EvaluateSettings(tasks_module="my_tasks", cache_dir=str(cache))
    [result] = dtvg.evaluate(backbone, prompts, "tested", asked)
    assert result.examples == 2 and set(result.metrics) == {"accuracy", "mean"}
    text = b"sentence: the meal was dull"
    lines = [text, b'{"prompt": "reviews/stage1-seed42", "inputs": "' + text + b'"}']
    settings = PredictSettings(
        "reviews/stage1-seed42", inputs_length=32, targets_length=4
    )
    first, second = dtvg.predict(backbone, prompts, lines, settings)
    assert first["prediction"] == second["prediction"] and "error" not in first


def test_a_table_of_a_bad_file_is_not_made(folder, tmp_path):
    (folder / "validation.jsonl").write_bytes(b'{"review": "\xff", "rating": "bad"}\n')
    try:
        with pytest.raises(InputError) as raised:
            open_table("reviews", tmp_path, "validation", tasks_module="my_tasks")
    finally:
        (folder / "validation.jsonl").write_text(REVIEWS)
    assert str(raised.value) == (
        "the split 'validation' of task 'reviews' cannot be read: "
        f"{folder}/validation.jsonl, line 1: the field 'review' is not UTF-8 at "
        "character 1: save the file in that encoding"
    )
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_row_of_another_source_is_named_by_its_number(tmp_path):
    (tmp_path / "plain.txt").write_bytes(b"good\n\xff\n")
    (tmp_path / "my_plain.py").write_text(PLAIN)
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(
            InputError, match="row 2: the text 'inputs' is not UTF-8 at"
        ):
            open_table("plain", tmp_path / "cache", tasks_module="my_plain")
    finally:
        sys.path.remove(str(tmp_path))


PLAIN = """
import pathlib
import seqio
from tasks import metrics
from tasks.registration import FEATURES

seqio.TaskRegistry.add(
    "plain",
    source=seqio.TextLineDataSource(
        {"train": str(pathlib.Path(__file__).parent / "plain.txt")}
    ),
    preprocessors=[
        lambda lines: lines.map(lambda line: {"inputs": line, "targets": "1"}),
        seqio.preprocessors.tokenize,
    ],
    output_features=FEATURES,
    metric_fns=[metrics.accuracy],
)
"""


def upload(local, to):
    for path in sorted(local.rglob("*")):
        if path.is_file():
            files.write_bytes(
                to / path.relative_to(local).as_posix(), path.read_bytes()
            )


STORED = 'here / f"{split}.jsonl"', 'f"gs://bucket/folder/{split}.jsonl"'


def test_files_in_a_store_are_read_from_copies(bucket, tmp_path, monkeypatch):
    code = JSON.replace(*STORED).replace('"reviews"', '"stored"')
    plain = PLAIN.replace('str(pathlib.Path(__file__).parent / "plain.txt")', "PLACE")
    plain = 'PLACE = "gs://bucket/folder/*.txt"\n' + plain
    (tmp_path / "my_stored.py").write_text(code)
    (tmp_path / "my_lines.py").write_text(plain.replace('"plain"', '"lines"'))
    files.write_bytes(bucket / "train.jsonl", REVIEWS.encode())
    files.write_bytes(bucket / "plain.txt", b"first\nsecond\n")
    monkeypatch.syspath_prepend(tmp_path)
    cache = tmp_path / "cache"
    table = open_table("stored", cache, tasks_module="my_stored")
    assert table.golds == ["bad", "good"]
    with pytest.raises(InputError, match="there is no file gs://bucket/folder/test.js"):
        open_table("stored", cache, "test", tasks_module="my_stored")
    lines = open_table("lines", cache, tasks_module="my_lines")
    assert fake_table.text_of(lines.inputs) == "first|second|"
    # What changes there is noticed, and what is wrong there is placed.
    files.write_bytes(bucket / "train.jsonl", REVIEWS.encode() * 2)
    assert len(open_table("stored", cache, tasks_module="my_stored")) == 4
    files.write_bytes(bucket / "train.jsonl", b'{"review": "a"}\n')
    said = "/folder/train.jsonl, line 1: the field 'rating' is missing"
    with pytest.raises(InputError, match=said):
        open_table("stored", cache, tasks_module="my_stored")
    # Lines for `predict` need no file, where it is known what fields rows have.
    assert set(raw_rows.form("stored", "digits", "my_stored").fields) == {"review"}
    with pytest.raises(InputError, match='gs://.*is not read for that: give "inputs"'):
        raw_rows.form("lines", "digits", "my_lines")


def test_a_job_fetches_the_data_sets_of_own_tasks(folder, bucket, tmp_path):
    upload(folder / "data", bucket / "data")
    job = Job(
        backbone="miniature",
        sources=["follows"],
        targets=[],
        methods=[],
        stage1=dtvg.Stage(steps=1, learning_rate=0.1, warmup=0),
        stage2=dtvg.Stage(steps=1, learning_rate=0.1, warmup=0),
        data_dir=f"{bucket}/data",
        cache_dir=str(tmp_path / "cache"),
        tasks_module="my_tfds_tasks",
    )
    words = fake_table.ByteVocabulary()
    tables = token_tables.open_tables(job, words, lambda: None)
    assert len(tables["follows", "train"]) > 100
    assert set(tables["follows", "test"].golds) == {"yes", "no"}


@pytest.mark.parametrize(
    "name, pattern", [("one", "more-1.jsonl"), ("all", "*-1.jsonl")]
)
def test_files_that_come_later_are_read(name, pattern, tmp_path):
    code = JSON.replace('f"{split}.jsonl"', repr(pattern))
    code = code.replace('"reviews"', repr(name))
    (tmp_path / f"my_{name}.py").write_text(code)
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(InputError, match=r"there is no file .*-1.jsonl"):
            open_table(name, tmp_path / "cache", tasks_module=f"my_{name}")
        (tmp_path / "more-1.jsonl").write_text(REVIEWS)
        first = open_table(name, tmp_path / "cache", tasks_module=f"my_{name}")
        (tmp_path / "more-1.jsonl").write_text(REVIEWS + REVIEWS)
        second = open_table(name, tmp_path / "cache", tasks_module=f"my_{name}")
    finally:
        sys.path.remove(str(tmp_path))
    assert (len(first), len(second)) == (2, 4)
