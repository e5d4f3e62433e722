"""docs/own_task.md, executed; and what is said of a user's files that are bad."""

import gzip
import pathlib
import re
import sys

import fake_table
import numpy as np
import pytest

import dtvg_jax as dtvg
from dtvg_jax.data.token_table import TableSettings, token_table
from dtvg_jax.errors import InputError
from dtvg_jax.inference.predict_lines import PredictSettings
from tasks import files
from tasks.miniature import datasets

DOC = pathlib.Path(__file__).resolve().parents[2] / "docs" / "own_task.md"
BLOCKS = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)
JSON, CSV, TFDS, LOOK, LEARN = BLOCKS
MODULES = {"my_tasks": JSON, "my_csv_tasks": CSV, "my_tfds_tasks": TFDS}

# The rows that the document shows.
REVIEWS = """\
{"review": "the meal was dull", "rating": "bad"}
{"review": "the novel was superb", "rating": "good"}
"""
ANSWERS = """\
text,question,answer
"Ann lives in Rome, Ida drinks beer",what does Ida drink,beer
"""


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
        assert table.metadata.scoring.metrics == ("dtvg_tasks.metrics:accuracy",)


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
    assert table.metadata.scoring.metrics == ("my_csv_tasks:words",)


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


def read(name, content, path, reader=files.json_rows, **changes):
    """Rows of a file with that content, in a split of that name."""
    (path / name).write_bytes(content)
    settings = {"fields": ["text"], "classes": {"label": ["0", "1"]}} | changes
    source = reader({"train": path / name}, **settings)
    return [
        {name: text.decode() for name, text in row.items()}
        for row in source.get_dataset("train", shuffle=False).as_numpy_iterator()
    ]


def test_values_of_json_are_texts_as_json_writes_them(tmp_path):
    lines = b"""\xef\xbb\xbf{"text": "a\\n\xc3\xa9", "label": 1, "more": [null]}

        {"text": true, "label": "0"}
        {"text": 2.5, "label": 0}
    """
    assert read("a.jsonl", lines, tmp_path) == [
        {"text": "a\né", "label": "1"},
        {"text": "true", "label": "0"},
        {"text": "2.5", "label": "0"},
    ]


def test_quoted_cells_hold_delimiters_quotes_and_line_ends(tmp_path):
    lines = b'\xef\xbb\xbflabel,x,text\r\n1,,"a, ""b""\r\nc"\r\n\r\n0,y, d \r\n'
    assert read("a.csv", lines, tmp_path, files.csv_rows) == [
        {"text": 'a, "b"\r\nc', "label": "1"},
        {"text": " d ", "label": "0"},
    ]
    tabs = b"text\tlabel\na,b\t1\n"
    assert read("a.tsv", tabs, tmp_path, files.csv_rows, delimiter="\t") == [
        {"text": "a,b", "label": "1"}
    ]


def test_quotation_marks_of_tsv_are_characters(tmp_path):
    lines = b'text\tlabel\n"a" b\t1\n"c\t0\n"d"\t1\n'
    rows = read("a.tsv", lines, tmp_path, files.csv_rows, delimiter="\t")
    assert [row["text"] for row in rows] == ['"a" b', '"c', '"d"']
    quoted = b'text\tlabel\n"a\tb"\t1\n'
    changes = {"delimiter": "\t", "quoted": True}
    [row] = read("b.tsv", quoted, tmp_path, files.csv_rows, **changes)
    assert row == {"text": "a\tb", "label": "1"}
    plain = b'text,label\n"a" b,1\n'
    [row] = read("c.csv", plain, tmp_path, files.csv_rows, quoted=False)
    assert row["text"] == '"a" b'


def test_true_and_false_may_be_classes(tmp_path):
    lines = b'{"text": "a", "label": true}\n{"text": "b", "label": false}\n'
    for classes in ([True, False], ["true", "false"]):
        rows = read("a.jsonl", lines, tmp_path, classes={"label": classes})
        assert [row["label"] for row in rows] == ["true", "false"]


def test_long_cells_packed_files_and_brackets_in_paths_are_read(tmp_path):
    folder = tmp_path / "data [v1]"
    folder.mkdir()
    long = "a " * 100_000
    lines = f"text,label\n{long},1\n".encode()
    [row] = read("a.csv.gz", gzip.compress(lines), folder, files.csv_rows)
    assert row == {"text": long, "label": "1"}
    [row] = read("a.jsonl.gz", gzip.compress(GOOD), folder)
    assert row == {"text": "a", "label": "1"}


def test_more_rows_than_a_chunk_keep_their_order(tmp_path):
    texts = [str(i) for i in range(2 * files.CHUNK_ROWS + 1)]
    lines = "\n".join(["text", *texts]).encode()
    rows = read("a.csv", lines, tmp_path, files.csv_rows, classes={})
    assert [row["text"] for row in rows] == texts


GOOD = b'{"text": "a", "label": "1"}\n'
HEAD = b"text,label\na,1\n"
BAD_FILES = {
    "missing.jsonl": (
        GOOD + b'\n{"text": "b"}\n',
        ", line 3: the field 'label' is missing",
    ),
    "null.jsonl": (
        b'{"text": null, "label": "1"}\n',
        ", line 1: the field 'text' is missing",
    ),
    "nan.jsonl": (
        b'{"text": NaN, "label": "1"}\n',
        ", line 1: the field 'text' is missing",
    ),
    "label.jsonl": (
        GOOD + b'{"text": "b", "label": 2}\n',
        ", line 2: the field 'label' is '2': it must be one of '0', '1'",
    ),
    "list.jsonl": (
        b'{"text": ["b"], "label": 1}\n',
        ", line 1: the field 'text' is ['b']: it must be a text",
    ),
    "bytes.jsonl": (
        GOOD + b'{"text": "caf\xe9", "label": "1"}\n',
        ", line 2: the field 'text' is not UTF-8 at character 4: save the file in "
        "that encoding",
    ),
    "half.jsonl": (
        b'{"text": "\\ud800", "label": "1"}\n',
        ", line 1: the field 'text' is not UTF-8 at character 1: save the file in "
        "that encoding",
    ),
    "utf16.jsonl": (
        GOOD.decode().encode("utf-16"),
        " is UTF-16: save it as UTF-8",
    ),
    "utf16.csv": (HEAD.decode().encode("utf-16"), " is UTF-16: save it as UTF-8"),
    "nul.jsonl": (
        GOOD + b'{"text": "a\\u0000", "label": "1"}\n',
        ", line 2: the field 'text' has a NUL character: it is no text",
    ),
    "nul.csv": (
        HEAD + b"a\x00b,1\n",
        ", line 3: the field 'text' has a NUL character: it is no text",
    ),
    "broken.jsonl": (
        GOOD + b'{"text": "b", "label"}\n',
        ", line 2: this is not JSON: Expecting ':' delimiter at column 22",
    ),
    "deep.jsonl": (
        b"[" * 100_000,
        ", line 1: this is not JSON: maximum recursion depth exceeded while decoding a "
        "JSON array from a unicode string",
    ),
    "array.jsonl": (
        b'["b"]\n',
        ', line 1: this is [\'b\'], it must be a JSON object, such as {"text": "..."}',
    ),
    "empty.jsonl": (b"\n", " has no rows"),
    "few.csv": (
        HEAD + b"b\n",
        ", line 3: the field 'label' is missing: the row has 1 of 2 columns",
    ),
    "many.csv": (
        HEAD + b"b, c,1\n",
        ", line 3: the row has 3 columns, the header 2, 'label' the last: quote a "
        "text that has ',' in it",
    ),
    "cell.csv": (HEAD + b",1\n", ", line 3: the field 'text' is missing"),
    "label.csv": (
        HEAD + b"b,2\n",
        ", line 3: the field 'label' is '2': it must be one of '0', '1'",
    ),
    "bytes.csv": (
        HEAD + b'"b\nb",1\n\xff,1\n',
        ", line 5: the field 'text' is not UTF-8 at character 1: save the file in "
        "that encoding",
    ),
    "quote.csv": (
        HEAD + b'b,"1\nc,1\n',
        ", line 3: this is not CSV: unexpected end of data",
    ),
    "header.csv": (
        b"txt,label\na,1\n",
        ", line 1: the field 'text' must be the name of one column, the columns are "
        "'txt', 'label'",
    ),
    "twice.csv": (
        b"text,label,text\na,1,b\n",
        ", line 1: the field 'text' must be the name of one column, the columns are "
        "'text', 'label', 'text'",
    ),
    "none.csv": (b"", " has no rows"),
    "head.csv": (b"text,label\n", " has no rows"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_ends_in_a_sentence(name, tmp_path):
    content, sentence = BAD_FILES[name]
    reader = files.csv_rows if name.endswith("csv") else files.json_rows
    with pytest.raises(ValueError) as raised:
        read(name, content, tmp_path, reader)
    assert str(raised.value) == f"{tmp_path / name}{sentence}"


def test_the_sentences_of_the_document_are_said(tmp_path):
    shown = DOC.read_text().split("names file, line and\nfield:\n\n")[1]
    said = []
    rating = {"fields": ["review"], "classes": {"rating": ["bad", "good"]}}
    for line in (b'{"review": "a"}', b'{"review": "a", "rating": "fine"}'):
        with pytest.raises(ValueError) as raised:
            read("train.jsonl", REVIEWS.encode() + line, tmp_path, **rating)
        said.append(raised)
    bad = ANSWERS.encode() + b'a,b,"caf\xe9"\n'
    with pytest.raises(ValueError) as raised:
        read("train.csv", bad, tmp_path, files.csv_rows, fields=["answer"], classes={})
    said.append(raised)
    sentences = [str(raised.value).removeprefix(f"{tmp_path}/") for raised in said]
    assert shown.split("\n\n")[0].splitlines() == [f"    {s}" for s in sentences]


def test_a_table_of_a_bad_file_is_not_made(folder, tmp_path):
    (folder / "validation.jsonl").write_bytes(b'{"review": "\xff", "rating": "bad"}\n')
    try:
        with pytest.raises(InputError) as raised:
            open_table("reviews", tmp_path, "validation", tasks_module="my_tasks")
    finally:
        (folder / "validation.jsonl").write_text(REVIEWS)
    assert str(raised.value) == (
        "The split 'validation' of task 'reviews' cannot be read: "
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


@pytest.mark.parametrize(
    "name, pattern", [("one", "more-1.jsonl"), ("all", "*-1.jsonl")]
)
def test_files_that_come_later_are_read(name, pattern, tmp_path):
    code = JSON.replace('f"{split}.jsonl"', repr(pattern))
    code = code.replace('"reviews"', repr(name))
    (tmp_path / f"my_{name}.py").write_text(code)
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(InputError, match=r"There is no file .*-1.jsonl"):
            open_table(name, tmp_path / "cache", tasks_module=f"my_{name}")
        (tmp_path / "more-1.jsonl").write_text(REVIEWS)
        first = open_table(name, tmp_path / "cache", tasks_module=f"my_{name}")
        (tmp_path / "more-1.jsonl").write_text(REVIEWS + REVIEWS)
        second = open_table(name, tmp_path / "cache", tasks_module=f"my_{name}")
    finally:
        sys.path.remove(str(tmp_path))
    assert (len(first), len(second)) == (2, 4)
