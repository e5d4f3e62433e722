"""JSON lines and CSV files of a user: what is read, and what is said of the rest."""

import gzip

import pytest
from own_task_rows import ANSWERS, DOC, REVIEWS

from tasks import files


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
        ", line 2: the field 'text' has a NUL character: it is not text",
    ),
    "nul.csv": (
        HEAD + b"a\x00b,1\n",
        ", line 3: the field 'text' has a NUL character: it is not text",
    ),
    "broken.jsonl": (
        GOOD + b'{"text": "b", "label"}\n',
        ", line 2: this is not JSON: Expecting ':' delimiter at column 22",
    ),
    "large.jsonl": (
        b'{"text": 1e400, "label": "1"}\n',
        ", line 1: the field 'text' is too large a number",
    ),
    "digits.jsonl": (
        b'{"text": %s, "label": "1"}\n' % (b"1" * 5000),
        ", line 1: this is not JSON: Exceeds the limit (4300 digits) for integer "
        "string conversion: value has 5000 digits; use sys.set_int_max_str_digits() to "
        "increase the limit",
    ),
    "plain.jsonl.gz": (GOOD, " cannot be read: Not a gzipped file (b'{\"')"),
    "cut.jsonl.gz": (
        gzip.compress(GOOD * 9)[:-9],
        " cannot be read: Compressed file ended before the end-of-stream marker was "
        "reached",
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


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.jsonl.gz"])
def test_a_line_without_an_end_is_not_read_to_it(name, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LONGEST", 40)
    line = b'{"text": "%s", "label": "1"}' % (b"a" * 40)
    content = HEAD + line if name.endswith("csv") else GOOD + b"\n" + line
    content = gzip.compress(content) if name.endswith("gz") else content
    reader = files.csv_rows if name.endswith("csv") else files.json_rows
    with pytest.raises(ValueError, match=f"{name}, line 3: .* more than 40 characters"):
        read(name, content, tmp_path, reader)


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
