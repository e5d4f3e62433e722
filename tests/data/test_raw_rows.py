"""Raw rows as lines have them: formatted as in training, or refused by field."""

import sys

import pytest
from task_cases import CASES, REFERENCE

from dtvg_jax.data import catalogue, raw_rows, source
from dtvg_jax.errors import InputError
from tasks import registration

STYLES = ("digits", "words", "reference")


def plain(value):
    """Makes a value of a stored row one of JSON: lists and dicts, texts and numbers."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_a_line_of_every_task_is_worded_as_in_training(case, style):
    task, _, _, stored, *texts = case
    form = raw_rows.form(task, style, catalogue.ALL)
    expected = texts[2] if style == "words" else texts[0]
    if style == "reference":
        expected = REFERENCE.get(task, (None,))[0] or expected
    line = {name: plain(stored[name]) for name in form.fields}
    assert raw_rows.inputs(form, [raw_rows.row(form, line)] * 2) == [expected] * 2
    # What a row has besides need not be there, and is not looked at.
    assert raw_rows.row(form, line | {"label": -1}) == raw_rows.row(form, line)


@pytest.mark.parametrize(
    "task, changed, said",
    [
        ("squad", {"context": None}, "the field 'context' is None: it must be text"),
        (
            "squad",
            {"question": ["x"]},
            "the field 'question' is ['x']: it must be text",
        ),
        ("common_gen", {"concepts": "dog"}, "'concepts' is 'dog': it must be a list"),
        ("common_gen", {"concepts": ["a", 1]}, "'concepts', item 2 is 1: it must be t"),
        ("superglue-wsc.fixed", {"span1_index": "2"}, "is '2': it must be a whole num"),
        ("superglue-wsc.fixed", {"span1_index": True}, "is True: it must be a whole n"),
        ("superglue-wsc.fixed", {"span1_index": 2**40}, "it must be a whole number"),
    ],
)
def test_a_value_of_another_type_is_named(task, changed, said):
    stored = next(row for name, _, _, row, *_ in CASES if name == task)
    form = raw_rows.form(task, "digits", catalogue.ALL)
    line = {name: plain(stored[name]) for name in form.fields} | changed
    with pytest.raises(InputError) as error:
        raw_rows.row(form, line)
    assert said in str(error.value)


def test_a_missing_field_is_named_with_those_of_the_task():
    form = raw_rows.form("superglue-record", "digits", catalogue.ALL)
    with pytest.raises(InputError) as error:
        raw_rows.row(form, {"query": "x", "passage": "y"})
    assert str(error.value) == (
        "the field 'entities' is missing: superglue-record takes query, entities, "
        "passage"
    )


def test_rows_of_a_mixture_are_of_one_of_its_tasks():
    with pytest.raises(InputError, match="dtvg_glue is a mixture: name the line's own"):
        raw_rows.form("dtvg_glue", "digits", catalogue.ALL)


OWN = """
import seqio
import tensorflow as tf
from tasks import metrics
from tasks.registration import FEATURES, describe

@seqio.map_over_dataset
def texts(row):
    inputs = tf.strings.join([row["title"], ": ", row["body"]["text"]])
    return {"inputs": inputs, "targets": row["answer"]}

rows = {
    "title": ["t"], "body": {"text": ["b"], "words": [[1, 2]]}, "answer": ["yes"]
}
source = seqio.FunctionDataSource(
    lambda split, shuffle_files: tf.data.Dataset.from_tensor_slices(rows), ["train"]
)
for name, steps in {
    "own_whole": [texts],
    "own_described": [texts],
    "own_wrong": [texts],
    "own_typo": [texts],
    "own_dropped": [
        lambda rows: rows.filter(lambda row: row["title"] != "drop"), texts
    ],
}.items():
    seqio.TaskRegistry.add(
        name, source=source, output_features=FEATURES, metric_fns=[metrics.accuracy],
        preprocessors=[*steps, seqio.preprocessors.tokenize],
    )
for name in ("own_described", "own_dropped"):
    describe(name, fields=["title", "body"], labels=["yes", "no"])
describe("own_wrong", fields=["title"])
"""


@pytest.fixture(scope="module")
def own_module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_raw_rows.py").write_text(OWN)
    sys.path.insert(0, str(folder))
    yield "my_raw_rows"
    sys.path.remove(str(folder))


BODY = {"text": "a body", "words": [1, 2, 3]}


def test_rows_of_an_own_task_of_any_source(own_module):
    form = raw_rows.form("own_described", "digits", own_module)
    row = raw_rows.row(form, {"title": "a title", "body": BODY})
    assert raw_rows.inputs(form, [row]) == ["a title: a body"]
    whole = raw_rows.form("own_whole", "digits", own_module)
    with pytest.raises(InputError, match="'answer' is missing: .* title, body, answer"):
        raw_rows.row(whole, {"title": "a title", "body": BODY})
    row = raw_rows.row(whole, {"title": "a title", "body": BODY, "answer": "?"})
    assert raw_rows.inputs(whole, [row]) == ["a title: a body"]
    with pytest.raises(InputError, match="'body' lacks 'words'"):
        raw_rows.row(whole, {"title": "", "body": {"text": ""}, "answer": ""})


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("absent", ["x"]), "there is no SeqIO task 'absent': register it first"),
        (("own_whole", []), "'own_whole' needs at least one field"),
        (("own_whole", ["title"], ["yes"]), "must be several texts: ('yes',)"),
        (("own_whole", ["title"], ["no", "no"]), "must be several texts"),
        (("own_whole", ["title"], [0, 1]), "must be several texts: (0, 1)"),
    ],
)
def test_a_description_is_checked(own_module, arguments, said):
    source.import_tasks(own_module)
    with pytest.raises(ValueError) as error:
        registration.describe(*arguments)
    assert said in str(error.value) and "own_whole" not in registration.DESCRIBED


def test_a_described_field_is_one_of_the_rows(own_module):
    source.import_tasks(own_module)
    registration.describe("own_typo", ["titel"])
    with pytest.raises(
        InputError, match="'titel' is not a field of the rows of own_typo, wh"
    ):
        raw_rows.form("own_typo", "digits", own_module)


def test_a_description_that_leaves_a_field_out_is_noticed(own_module):
    form = raw_rows.form("own_wrong", "digits", own_module)
    with pytest.raises(InputError, match="own_wrong is made of more than title"):
        raw_rows.inputs(form, [raw_rows.row(form, {"title": "a title"})])


def test_a_row_that_a_task_drops_is_not_passed_over(own_module):
    form = raw_rows.form("own_dropped", "digits", own_module)
    rows = [raw_rows.row(form, {"title": t, "body": BODY}) for t in ("drop", "b")]
    with pytest.raises(InputError, match="own_dropped makes 1 inputs of 2"):
        raw_rows.inputs(form, rows)
