"""Raw rows to texts, in the graph of tf.data: the wording of the reference and of T5.

Every function takes and returns a dataset, so that it can be a SeqIO preprocessor once
`functools.partial` has bound the rest. Rows leave with `inputs` and `targets` as text,
and `answers` where a row has several gold answers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Row = dict[str, Any]
Pad = Callable[[tf.Tensor], tf.Tensor]


def label(
    dataset: tf.data.Dataset, prefix: str, fields: Sequence[str], labels: Sequence[str]
) -> tf.data.Dataset:
    """Word classification: "prefix field: text field: text" and a label's text.

    Rows with the hidden label -1 are left out.

    Args:
      dataset: rows with `fields` as text and `label` as a number.
      prefix: what opens the input.
      fields: names of the features shown, in order.
      labels: texts of the labels.
    """

    def word(row: Row) -> Row:
        texts = [part for name in fields for part in (f"{name}:", row[name])]
        return {
            "inputs": tf.strings.join([prefix, *texts], separator=" "),
            "targets": tf.gather(tf.constant(labels), row["label"]),
        }

    return _map(dataset.filter(lambda row: row["label"] >= 0), word)


def question(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Word a question on a context as the reference does for SQuAD.

    Args:
      dataset: rows with `question`, `context` and `answers` `text`, several texts, of
        which the first is the target.
    """
    return _map(dataset, lambda row: _question(row, "squad question:", pad_punctuation))


def question_t5(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Word what `question` takes as T5 does: no task name, ASCII punctuation only."""

    def word(row: Row) -> Row:
        row = _question(row, "question:", pad_ascii_punctuation)
        return row | {"inputs": _squeeze(row["inputs"], r"\s+")}

    return _map(dataset, word)


def record(dataset: tf.data.Dataset, prefix: str) -> tf.data.Dataset:
    """Word a query with a blank on a passage: an entity of the passage fills it.

    Args:
      dataset: rows with `query`, `entities`, `passage` and `answers`; with `answer`
        where one of several answers was made the target, else the first is.
      prefix: what opens the input.
    """

    def word(row: Row) -> Row:
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

    return _map(dataset, word)


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
    return _squeeze(spaced, r"[\s\pZ]+")


def pad_ascii_punctuation(text: tf.Tensor) -> tf.Tensor:
    """Put spaces around ASCII punctuation, `_` included, as T5 does, and squeeze."""
    spaced = tf.strings.regex_replace(text, r"([[:punct:]])", r" \1 ")
    return _squeeze(spaced, r"\s+")


def _question(row: Row, opening: str, pad: Pad) -> Row:
    answers = pad(row["answers"]["text"])
    texts = [opening, pad(row["question"]), "context:", pad(row["context"])]
    return {
        "inputs": tf.strings.join(texts, separator=" "),
        "targets": answers[0],
        "answers": answers,
    }


def _join_highlights(passage: tf.Tensor) -> tf.Tensor:
    joined = tf.strings.regex_replace(passage, r"([.?!\"'])\n@highlight\n", r"\1 ")
    return tf.strings.regex_replace(joined, r"\n@highlight\n", ". ")


def _or_unknown(answers: tf.Tensor) -> tf.Tensor:
    """Stand in for the missing answers of a hidden test set as the reference does."""
    return tf.cond(
        tf.size(answers) > 0, lambda: answers, lambda: tf.constant(["<unk>"])
    )


def _squeeze(text: tf.Tensor, space: str) -> tf.Tensor:
    return tf.strings.regex_replace(text, space, " ")


def _map(dataset: tf.data.Dataset, word: Callable[[Row], Row]) -> tf.data.Dataset:
    return dataset.map(word, num_parallel_calls=tf.data.AUTOTUNE)
