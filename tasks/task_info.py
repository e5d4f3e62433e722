"""The catalogue of tasks: what each is called, read from, scored by and truncated to.

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
      metrics: names of the scores, primary metric first.
      rule: how splits are carved, a key of `tasks.splits.RULES`.
      ids: features that order the rows as the original files do, most significant
        first ("idx/query" is `query` under `idx`); None where TFDS keeps none.
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
        """The SeqIO task of digits as labels; others end as CONVENTIONS says."""
        return "dtvg_" + self.name.replace("-", "_").replace(".", "_")


ENTAILMENT = ("entailment", "not_entailment")
TRUTH = ("False", "True")
PARAPHRASE = ("different_meaning", "paraphrase")
IDX = ("idx",)
PASSAGE_LENGTH = 512
TEXT_LENGTH = 128
SPAN = ("f1", "em")
TEXT = ("bleu", "rouge1", "rouge2", "rougeL", "meteor")

_ROWS = (
    # Sources
    TaskInfo(
        "mnli", "source", "glue", "glue/mnli:2.0.0",
        ("entailment", "neutral", "contradiction"), ("accuracy",),
        "mnli", (392_702, 9_832, 9_815), IDX,
    ),
    TaskInfo(
        "qnli", "source", "glue", "glue/qnli:2.0.0", ENTAILMENT, ("accuracy",),
        "thousand", (103_743, 1_000, 5_463), IDX,
    ),
    TaskInfo(
        "qqp", "source", "glue", "glue/qqp:2.0.0",
        ("not_duplicate", "duplicate"), ("accuracy", "f1"),
        "thousand", (362_846, 1_000, 40_430), IDX,
    ),
    TaskInfo(
        "sst2", "source", "glue", "glue/sst2:2.0.0",
        ("negative", "positive"), ("accuracy",),
        "thousand", (66_349, 1_000, 872), IDX,
    ),
    TaskInfo(
        "superglue-record", "source", "super_glue", "super_glue/record:1.0.2",
        None, SPAN, "thousand", (99_730, 1_000, 10_000), ("idx/query",),
        PASSAGE_LENGTH, ANSWER_LENGTH,
    ),
    TaskInfo(
        "squad", "source", "question_answering", "squad/v1.1:3.0.0",
        None, SPAN, "thousand", (86_599, 1_000, 10_570), None,
        PASSAGE_LENGTH, ANSWER_LENGTH,
    ),
    # Targets
    TaskInfo(
        "rte", "target", "glue", "glue/rte:2.0.0", ENTAILMENT, ("accuracy",),
        "halves", (2_490, 138, 139), IDX,
    ),
    TaskInfo(
        "mrpc", "target", "glue", "glue/mrpc:2.0.0",
        ("not_equivalent", "equivalent"), ("accuracy", "f1"),
        "halves", (3_668, 204, 204), IDX,
    ),
    TaskInfo(
        "cola", "target", "glue", "glue/cola:2.0.0",
        ("unacceptable", "acceptable"), ("matthews_correlation",),
        "halves", (8_551, 521, 522), IDX,
    ),
    TaskInfo(
        "superglue-boolq", "target", "super_glue", "super_glue/boolq:1.0.2",
        TRUTH, ("accuracy",), "halves", (9_427, 1_635, 1_635), IDX,
    ),
    TaskInfo(
        "superglue-cb", "target", "super_glue", "super_glue/cb:1.0.2",
        ("entailment", "contradiction", "neutral"), ("accuracy", "f1_multiclass"),
        "halves", (250, 28, 28), IDX,
    ),
    TaskInfo(
        "superglue-wic", "target", "super_glue", "super_glue/wic:1.0.2",
        TRUTH, ("accuracy",), "halves", (5_428, 319, 319), IDX,
    ),
    TaskInfo(
        "stsb", "target", "glue", "glue/stsb:2.0.0",
        None, ("pearson", "spearmanr"), "halves", (5_749, 750, 750), IDX,
    ),
    TaskInfo(
        "superglue-multirc", "target", "super_glue", "super_glue/multirc:1.0.2",
        TRUTH, ("f1", "em"), "halves", (27_243, 2_424, 2_424),
        ("idx/paragraph", "idx/question", "idx/answer"), 348,
    ),
    TaskInfo(
        "superglue-wsc.fixed", "target", "super_glue", "super_glue/wsc.fixed:1.0.2",
        TRUTH, ("accuracy",), "halves", (554, 52, 52), IDX,
    ),
    TaskInfo(
        "nq", "target", "question_answering", "mrqa/natural_questions:1.0.0",
        None, SPAN, "thousand", (103_071, 1_000, 12_836), None,
        PASSAGE_LENGTH, ANSWER_LENGTH,
    ),
    TaskInfo(
        "hotpotqa", "target", "question_answering", "mrqa/hotpot_qa:1.0.0",
        None, SPAN, "thousand", (71_928, 1_000, 5_901), None,
        PASSAGE_LENGTH, ANSWER_LENGTH,
    ),
    TaskInfo(
        "newsqa", "target", "question_answering", "mrqa/news_qa:1.0.0",
        None, SPAN, "thousand", (73_160, 1_000, 4_212), None,
        PASSAGE_LENGTH, ANSWER_LENGTH,
    ),
    TaskInfo(
        "searchqa", "target", "question_answering", "mrqa/search_qa:1.0.0",
        None, SPAN, "thousand", (116_384, 1_000, 16_980), None,
        PASSAGE_LENGTH, ANSWER_LENGTH,
    ),
    TaskInfo(
        "winogrande", "target", "others", "winogrande:1.2.0",
        ("option1", "option2"), ("accuracy",), "winogrande", (39_398, 1_000, 1_267),
    ),
    TaskInfo(
        "yelp_polarity", "target", "others", "yelp_polarity_reviews:0.2.0",
        ("negative", "positive"), ("accuracy",), "yelp", (100_000, 1_000, 38_000),
    ),
    TaskInfo(
        "scitail", "target", "others", "sci_tail:1.0.0",
        ("entailment", "neutral"), ("accuracy",), "halves", (23_097, 652, 652),
    ),
    TaskInfo(
        "paws", "target", "others", "paws_wiki/labeled_final_tokenized:1.1.0",
        PARAPHRASE, ("accuracy",), "stored", (49_401, 8_000, 8_000),
        targets_length=len("different_meaning") + 1,
    ),
    TaskInfo(
        "e2e", "target", "generation", "gem/e2e_nlg:1.1.0",
        None, TEXT, "stored", (33_525, 4_299, 4_693), None, TEXT_LENGTH, TEXT_LENGTH,
    ),
    TaskInfo(
        "common_gen", "target", "generation", "gem/common_gen:1.1.0",
        None, TEXT, "concepts", (66_389, 1_000, 993), ("concept_set_id",),
        TEXT_LENGTH, TEXT_LENGTH,
    ),
    TaskInfo(
        "web_nlg", "target", "generation", "gem/web_nlg_en:1.1.0",
        None, TEXT, "stored", (35_426, 1_667, 1_779), None, TEXT_LENGTH, TEXT_LENGTH,
    ),
)  # fmt: skip

TASKS: dict[str, TaskInfo] = {info.name: info for info in _ROWS}
# The same data with another split: no paragraph is in validation and in test.
VARIANTS: dict[str, TaskInfo] = {
    "superglue-multirc-by-paragraph": dataclasses.replace(
        TASKS["superglue-multirc"],
        name="superglue-multirc-by-paragraph",
        rule="grouped halves",
        ids=("idx/paragraph",),
    )
}
KNOWN = TASKS | VARIANTS
CONVENTIONS = {"digits": "", "words": "_words", "reference": "_reference"}
SPLITS = ("train", "validation", "test")

# Mixtures of tasks, in which each is drawn by its training rows, up to MIXTURE_CAP,
# T5's K. Behind the name comes the convention, as for tasks: "dtvg_glue_words".
MIXTURES: dict[str, list[TaskInfo]] = {
    "dtvg_sources": [info for info in _ROWS if info.role == "source"],
    "dtvg_targets": [info for info in _ROWS if info.role == "target"],
    "dtvg_all": list(_ROWS),
} | {
    f"dtvg_{family}": [info for info in _ROWS if info.family == family]
    for family in dict.fromkeys(info.family for info in _ROWS)
}
MIXTURE_CAP = 2**19
