"""Raw rows to texts, in the graph of tf.data, as the reference and T5 format them.

Every function takes and returns a dataset, so that it can be a SeqIO preprocessor once
`functools.partial` has bound the rest. Rows leave with `inputs` and `targets` as text,
and `answers` where a row has several gold answers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

Row = dict[str, Any]
Pad = Callable[[tf.Tensor], tf.Tensor]
# Names shown in an input, in order; a mapping gives the features behind the names.
Fields = Sequence[str] | Mapping[str, str]

# Several spaces, or one that is not " ". A lone " " is not matched, as there are so
# many: padding a long passage takes 1.6 times as long where each is replaced by itself.
_ASCII_SPACES = r"\s{2,}|[^\S ]"
_SPACES = r"[\s\pZ]{2,}|[^\S ]|[^\PZ ]"


def label(
    dataset: tf.data.Dataset, prefix: str, fields: Fields, labels: Sequence[str]
) -> tf.data.Dataset:
    """Format classification: "prefix field: text field: text" and a label's text.

    Rows with the hidden label -1 are left out.

    Args:
      dataset: rows with texts, and `label` as a number.
      prefix: what opens the input.
      fields: what of a row is shown.
      labels: texts of the labels.
    """
    shown = fields if isinstance(fields, Mapping) else {name: name for name in fields}

    def formatted(row: Row) -> Row:
        texts = [part for name, key in shown.items() for part in (f"{name}:", row[key])]
        return {
            "inputs": tf.strings.join([prefix, *texts], separator=" "),
            "targets": tf.gather(tf.constant(labels), row["label"]),
        }

    return _map(dataset.filter(lambda row: row["label"] >= 0), formatted)


def similarity(
    dataset: tf.data.Dataset, prefix: str, steps: int, rounded: tf.DType
) -> tf.data.Dataset:
    """Format a pair of sentences and their similarity, 0.0 to 5.0, as STS-B has them.

    Rows also get `similarity`, as it is before it is rounded.

    Args:
      dataset: rows with `sentence1`, `sentence2` and `label`; -1 is hidden.
      prefix: what opens the input.
      steps: into which each unit of the score is divided; half a step goes to even.
      rounded: the precision in which the score is rounded.
    """

    def formatted(row: Row) -> Row:
        texts = [prefix, "sentence1:", row["sentence1"], "sentence2:", row["sentence2"]]
        score = tf.round(tf.cast(row["label"], rounded) * steps) / steps
        return {
            "inputs": tf.strings.join(texts, separator=" "),
            "targets": tf.strings.as_string(score, precision=1),
            "similarity": tf.strings.as_string(row["label"]),
        }

    return _map(dataset.filter(lambda row: row["label"] >= 0), formatted)


def multirc(
    dataset: tf.data.Dataset, prefix: str, labels: Sequence[str]
) -> tf.data.Dataset:
    """Format an answer to a question on a paragraph, to be judged; drop the markup.

    Rows also get `group`, a name of their question.
    """

    def clean(row: Row) -> Row:
        cleaned = {}
        for name in ("question", "answer", "paragraph"):
            spaced = tf.strings.regex_replace(row[name], "<br>", " ")
            cleaned[name] = tf.strings.regex_replace(spaced, "</?b>", "")
        return row | cleaned

    def group(row: Row) -> tf.Tensor:
        ids = [tf.strings.as_string(row["idx"][i]) for i in ("paragraph", "question")]
        return tf.strings.join(ids, separator="-")

    rows = dataset.filter(lambda row: row["label"] >= 0)
    texts = label(
        _map(rows, clean), prefix, ("question", "answer", "paragraph"), labels
    )
    pairs = tf.data.Dataset.zip((texts, _map(rows, lambda row: {"group": group(row)})))
    return pairs.map(lambda text, more: text | more)


def coreference(
    dataset: tf.data.Dataset, prefix: str, labels: Sequence[str]
) -> tf.data.Dataset:
    """Format the question whether "# it #" means "* a thing *", as marked in the text.

    A span that does not stand at its word stays unmarked.

    Args:
      dataset: rows with `text`, `label`, and `index` and `text` of `span1`, `span2`.
      prefix: what opens the input.
      labels: texts of the labels.
    """

    def mark(row: Row) -> Row:
        first, second = row["span1_index"], row["span2_index"]
        text = _mark(row["text"], row["span1_text"], first, "*")
        # The first two marks are words too.
        second += 2 * tf.cast(first < second, second.dtype)
        return row | {"text": _mark(text, row["span2_text"], second, "#")}

    return label(_map(dataset, mark), prefix, ("text",), labels)


def question(dataset: tf.data.Dataset, task: str) -> tf.data.Dataset:
    """Format a question on a context as the reference does.

    Args:
      dataset: rows with `question`, `context` and `answers`, several texts (in SQuAD
        `answers` `text`), of which the first is the target.
      task: what opens the input.
    """
    return _map(dataset, lambda row: _question(row, [task], pad_punctuation))


def question_t5(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Format what `question` takes as T5 does: no task name, ASCII punctuation only."""

    def formatted(row: Row) -> Row:
        row = _question(row, [], pad_ascii_punctuation)
        return row | {"inputs": _squeeze(row["inputs"], _ASCII_SPACES)}

    return _map(dataset, formatted)


def question_of_structure(dataset: tf.data.Dataset, task: str) -> tf.data.Dataset:
    """Format SQuAD as the reference does by mistake: the target is a printed dict.

    That is "{'text': ['A', ...], 'answer_start': [0, ...]}" as Python prints it, with
    its punctuation padded.
    """

    def formatted(row: Row) -> Row:
        texts = tf.strings.reduce_join(_printed(row["answers"]["text"]), separator=", ")
        starts = tf.strings.as_string(row["answers"]["answer_start"])
        starts = tf.strings.reduce_join(starts, separator=", ")
        printed = ["{'text': [", texts, "], 'answer_start': [", starts, "]}"]
        target = pad_punctuation(tf.strings.join(printed))
        return _question(row, [task], pad_punctuation) | {"targets": target}

    return _map(dataset, formatted)


def text(
    dataset: tf.data.Dataset, opening: str, feature: str, separator: str = ""
) -> tf.data.Dataset:
    """Format data to write a text on; `target` is learned, `references` are gold.

    Args:
      dataset: rows with `target`, and `references` where they are for evaluation.
      opening: what opens the input.
      feature: the data, a text or several.
      separator: stands between several.
    """

    def formatted(row: Row) -> Row:
        data = tf.strings.reduce_join(row[feature], separator=separator)
        target = row["target"]
        return {
            "inputs": tf.strings.join([opening, data], separator=" "),
            "targets": target,
            "answers": _or_else(row["references"], target),
        }

    return _map(dataset, formatted)


def record(dataset: tf.data.Dataset, prefix: str) -> tf.data.Dataset:
    """Format a query with a blank on a passage: an entity of the passage fills it.

    Args:
      dataset: rows with `query`, `entities`, `passage` and `answers`; with `answer`
        where one of several answers was made the target, else the first is.
      prefix: what opens the input.
    """

    def formatted(row: Row) -> Row:
        answers = _or_unknown(row["answers"])
        entities = tf.strings.reduce_join(row["entities"], separator=", ")
        texts = [prefix, row["query"], "entities:", entities, "passage:"]
        return {
            "inputs": tf.strings.join(
                [*texts, _join_highlights(row["passage"])], separator=" "
            ),
            "targets": row["answer"] if "answer" in row else answers[0],
            "answers": answers,
        }

    return _map(dataset, formatted)


def row_per_answer(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Repeat each row of ReCoRD for each of its answers, which becomes `answer`."""

    def repeat(row: Row) -> tf.data.Dataset:
        answers = tf.data.Dataset.from_tensor_slices(_or_unknown(row["answers"]))
        return answers.map(lambda answer: row | {"answer": answer})

    return dataset.flat_map(repeat)


def pad_punctuation(text: tf.Tensor) -> tf.Tensor:
    """Put spaces around all but words, `_` and space, and squeeze spaces to one.

    "U.S." becomes "U . S . ". RE2's \\s is ASCII only: \\pZ keeps other spaces in.
    """
    spaced = tf.strings.regex_replace(text, r"([^_\s\pZ\pN\pL\pM])", r" \1 ")
    return _squeeze(spaced, _SPACES)


def pad_ascii_punctuation(text: tf.Tensor) -> tf.Tensor:
    """Put spaces around ASCII punctuation, `_` included, as T5 does, and squeeze."""
    spaced = tf.strings.regex_replace(text, r"([[:punct:]])", r" \1 ")
    return _squeeze(spaced, _ASCII_SPACES)


def _question(row: Row, opening: list[str], pad: Pad) -> Row:
    answers = row["answers"]
    answers = pad(answers["text"] if isinstance(answers, dict) else answers)
    texts = ["question:", pad(row["question"]), "context:", pad(row["context"])]
    return {
        "inputs": tf.strings.join([*opening, *texts], separator=" "),
        "targets": answers[0],
        "answers": answers,
    }


def _printed(texts: tf.Tensor) -> tf.Tensor:
    """Quote texts as Python prints them: '...', or "..." around an apostrophe alone."""
    double = tf.strings.regex_full_match(texts, '(?s)[^"]*\'[^"]*')
    escaped = tf.strings.regex_replace(texts, r"\\", r"\\\\")
    escaped = tf.strings.regex_replace(escaped, "\n", r"\\n")
    single = tf.strings.regex_replace(escaped, "'", r"\\'")
    return tf.where(
        double,
        tf.strings.join(['"', escaped, '"']),
        tf.strings.join(["'", single, "'"]),
    )


def _join_highlights(passage: tf.Tensor) -> tf.Tensor:
    joined = tf.strings.regex_replace(passage, r"([.?!\"'])\n@highlight\n", r"\1 ")
    return tf.strings.regex_replace(joined, r"\n@highlight\n", ". ")


def _mark(text: tf.Tensor, span: tf.Tensor, index: tf.Tensor, mark: str) -> tf.Tensor:
    span = tf.strings.regex_replace(span, r"([\\.+*?()|\[\]{}^$])", r"\\\1")
    index = tf.strings.as_string(index)
    pattern = tf.strings.join([r"^((?:\S+\s){", index, "})(", span, ")"])
    return tf.strings.regex_replace(text, pattern, rf"\1{mark} \2 {mark}")


def _or_unknown(answers: tf.Tensor) -> tf.Tensor:
    """Stand in for the missing answers of a hidden test set as the reference does."""
    return _or_else(answers, tf.constant("<unk>"))


def _or_else(texts: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    return tf.cond(tf.size(texts) > 0, lambda: texts, lambda: other[tf.newaxis])


def _squeeze(text: tf.Tensor, spaces: str) -> tf.Tensor:
    return tf.strings.regex_replace(text, spaces, " ")


def _map(dataset: tf.data.Dataset, change: Callable[[Row], Row]) -> tf.data.Dataset:
    return dataset.map(change, num_parallel_calls=tf.data.AUTOTUNE)
