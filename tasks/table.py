"""The catalogue of tasks: what each is called, read from, scored by and cut to.

Nothing here imports SeqIO or TensorFlow, so a job can be planned without them. Sizes
are those of the official sets after the split rule (see `tasks.splits`).
"""

import dataclasses

# A bound on label texts, in tokens with the end: bytes of "not_equivalent" fit in it.
LABEL_LENGTH = 16
ANSWER_LENGTH = 20


@dataclasses.dataclass(frozen=True)
class TaskInfo:
    """One task of the paper.

    Attributes:
      name: the reference's name, which also opens every input.
      role: "source" or "target".
      family: the group of the paper's tables.
      builder: name, configuration and version of the TFDS data.
      labels: label words in the order of their digits; None where answers are text.
      metrics: names of the scores, headline first.
      rule: how splits are carved, a key of `tasks.splits.RULES`.
      ids: fields under `idx` that order the rows, () where `idx` is one number, None
        where TFDS keeps no original position.
      sizes: official rows of train, validation and test after the rule.
      inputs_length: most tokens of an input.
      targets_length: most tokens of a target.
    """

    name: str
    role: str
    family: str
    builder: str
    labels: tuple[str, ...] | None
    metrics: tuple[str, ...]
    rule: str
    sizes: tuple[int, int, int]
    ids: tuple[str, ...] | None = None
    inputs_length: int = 256
    targets_length: int = LABEL_LENGTH

    @property
    def seqio_name(self) -> str:
        """The SeqIO task with digits as labels; `_words` behind it for words."""
        return "dtvg_" + self.name.replace("-", "_").replace(".", "_")


ENTAILMENT = ("entailment", "not_entailment")
TRUTH = ("False", "True")
PASSAGE_LENGTH = 512

_ROWS = (
    # Sources
    TaskInfo(
        "mnli", "source", "glue", "glue/mnli:2.0.0",
        ("entailment", "neutral", "contradiction"), ("accuracy",),
        "mnli", (392_702, 9_832, 9_815), (),
    ),
    TaskInfo(
        "qnli", "source", "glue", "glue/qnli:2.0.0", ENTAILMENT, ("accuracy",),
        "thousand", (103_743, 1_000, 5_463), (),
    ),
    TaskInfo(
        "qqp", "source", "glue", "glue/qqp:2.0.0",
        ("not_duplicate", "duplicate"), ("accuracy", "f1"),
        "thousand", (362_846, 1_000, 40_430), (),
    ),
    TaskInfo(
        "sst2", "source", "glue", "glue/sst2:2.0.0",
        ("negative", "positive"), ("accuracy",),
        "thousand", (66_349, 1_000, 872), (),
    ),
    TaskInfo(
        "superglue-record", "source", "super_glue", "super_glue/record:1.0.2",
        None, ("f1", "em"), "thousand", (99_730, 1_000, 10_000), ("query",),
        PASSAGE_LENGTH, ANSWER_LENGTH,
    ),
    TaskInfo(
        "squad", "source", "question_answering", "squad/v1.1:3.0.0",
        None, ("f1", "em"), "thousand", (86_599, 1_000, 10_570), None,
        PASSAGE_LENGTH, ANSWER_LENGTH,
    ),
    # Targets
    TaskInfo(
        "rte", "target", "glue", "glue/rte:2.0.0", ENTAILMENT, ("accuracy",),
        "halves", (2_490, 138, 139), (),
    ),
    TaskInfo(
        "mrpc", "target", "glue", "glue/mrpc:2.0.0",
        ("not_equivalent", "equivalent"), ("accuracy", "f1"),
        "halves", (3_668, 204, 204), (),
    ),
    TaskInfo(
        "cola", "target", "glue", "glue/cola:2.0.0",
        ("unacceptable", "acceptable"), ("matthews_correlation",),
        "halves", (8_551, 521, 522), (),
    ),
    TaskInfo(
        "superglue-boolq", "target", "super_glue", "super_glue/boolq:1.0.2",
        TRUTH, ("accuracy",), "halves", (9_427, 1_635, 1_635), (),
    ),
    TaskInfo(
        "superglue-cb", "target", "super_glue", "super_glue/cb:1.0.2",
        ("entailment", "contradiction", "neutral"), ("accuracy", "f1_multiclass"),
        "halves", (250, 28, 28), (),
    ),
    TaskInfo(
        "superglue-wic", "target", "super_glue", "super_glue/wic:1.0.2",
        TRUTH, ("accuracy",), "halves", (5_428, 319, 319), (),
    ),
)  # fmt: skip

TASKS: dict[str, TaskInfo] = {info.name: info for info in _ROWS}
SPLITS = ("train", "validation", "test")
