"""Raw rows written by hand, and what every task makes of them."""

IDX = {"idx": 0}
QUERY = {"idx": {"passage": 0, "query": 0}}
PASSAGE = (
    "Rain hit Oslo.\n@highlight\nThe mayor closed schools\n@highlight\nTrains ran late"
)

MRQA = dict(
    subset="s", qid="q", context="[PAR] Acme was founded by J. Doe.",
    question="Who founded Acme?", answers=["J. Doe", "Doe"],
    context_tokens=dict(tokens=[], offsets=[]),
    question_tokens=dict(tokens=[], offsets=[]),
    detected_answers=dict(text=[], char_spans=[], token_spans=[]),
)  # fmt: skip
MRQA_INPUT = (
    "question: Who founded Acme ?  context:  [ PAR ] Acme was founded by J . Doe . "
)
GEM = dict(gem_id="g", gem_parent_id="g")

# task, split read here and stored, a raw row, input and target: digits, then words
CASES = [
    (
        "mnli", "test", "validation_matched",
        dict(premise="A man naps.", hypothesis="A man rests.", label=1, **IDX),
        "mnli premise: A man naps. hypothesis: A man rests.", "1",
        "mnli hypothesis: A man rests. premise: A man naps.", "neutral",
    ),
    (
        "mnli", "validation", "validation_mismatched",
        dict(premise="No.", hypothesis="Yes.", label="contradiction", **IDX),
        "mnli premise: No. hypothesis: Yes.", "2",
        "mnli hypothesis: Yes. premise: No.", "contradiction",
    ),
    (
        "qnli", "test", "validation",
        dict(question="Who wrote it?", sentence="Poe wrote it.", label=0, **IDX),
        "qnli question: Who wrote it? sentence: Poe wrote it.", "0",
        "qnli question: Who wrote it? sentence: Poe wrote it.", "entailment",
    ),
    (
        "qqp", "test", "validation",
        dict(
            question1="How old is Rome?", question2="What is Rome's age?", label=1,
            **IDX,
        ),
        "qqp question1: How old is Rome? question2: What is Rome's age?", "1",
        "qqp question1: How old is Rome? question2: What is Rome's age?", "duplicate",
    ),
    (
        "sst2", "test", "validation",
        dict(sentence="a warm , funny film ", label=1, **IDX),
        "sst2 sentence: a warm , funny film ", "1",
        "sst2 sentence: a warm , funny film ", "positive",
    ),
    (
        "superglue-record", "test", "validation",
        dict(
            passage=PASSAGE, query="@placeholder closed schools",
            entities=["Oslo", "The mayor"], answers=["The mayor"], **QUERY,
        ),
        "superglue-record record query: @placeholder closed schools entities: Oslo, "
        "The mayor passage: Rain hit Oslo. The mayor closed schools. Trains ran late",
        "The mayor",
        "record query: @placeholder closed schools entities: Oslo, The mayor passage: "
        "Rain hit Oslo. The mayor closed schools. Trains ran late",
        "The mayor",
    ),
    (
        "squad", "test", "validation",
        dict(
            id="a", title="Acme", context="Acme_1 was founded by J. Doe.",
            question="Who founded Acme_1?",
            answers=dict(text=["J. Doe", "Doe"], answer_start=[22, 25]),
        ),
        "squad question: Who founded Acme_1 ?  context: Acme_1 was founded by J . Doe"
        " . ",
        "J . Doe",
        "question: Who founded Acme _ 1 ? context: Acme _ 1 was founded by J . Doe . ",
        "J . Doe",
    ),
    (
        "rte", "train", "train",
        dict(sentence1="A dog sleeps.", sentence2="An animal sleeps.", label=0, **IDX),
        "rte sentence1: A dog sleeps. sentence2: An animal sleeps.", "0",
        "rte sentence1: A dog sleeps. sentence2: An animal sleeps.", "entailment",
    ),
    (
        "mrpc", "train", "train",
        dict(
            sentence1="He left early.", sentence2="He departed early.", label=1, **IDX
        ),
        "mrpc sentence1: He left early. sentence2: He departed early.", "1",
        "mrpc sentence1: He left early. sentence2: He departed early.", "equivalent",
    ),
    (
        "cola", "train", "train",
        dict(sentence="The book was read.", label=1, **IDX),
        "cola sentence: The book was read.", "1",
        "cola sentence: The book was read.", "acceptable",
    ),
    (
        "superglue-boolq", "train", "train",
        dict(question="is tea hot", passage="Tea is served hot.", label=1, **IDX),
        "superglue-boolq question: is tea hot passage: Tea is served hot.", "1",
        "boolq passage: Tea is served hot. question: is tea hot", "True",
    ),
    (
        "superglue-cb", "train", "train",
        dict(
            premise="She said it rained", hypothesis="it rained", label="neutral", **IDX
        ),
        "superglue-cb premise: She said it rained hypothesis: it rained", "2",
        "cb hypothesis: it rained premise: She said it rained", "neutral",
    ),
    (
        "superglue-wic", "train", "train",
        dict(
            sentence1="He sat on the bank.", sentence2="The bank lent money.",
            word="bank", start1=14, end1=18, start2=4, end2=8, label=0, **IDX,
        ),
        "superglue-wic sentence1: He sat on the bank. sentence2: The bank lent money. "
        "word: bank", "0",
        "wic sentence1: He sat on the bank. sentence2: The bank lent money. word: bank",
        "False",
    ),
    (
        "stsb", "train", "train",
        dict(sentence1="A cat runs.", sentence2="A dog runs.", label=2.45, **IDX),
        "stsb sentence1: A cat runs. sentence2: A dog runs.", "2.4",
        "stsb sentence1: A cat runs. sentence2: A dog runs.", "2.4",
    ),
    (
        "superglue-multirc", "train", "train",
        dict(
            question="Who <b>slept</b>?", answer="Tom", label=1,
            paragraph="<b>Sent 1: </b>Tom went home.<br><b>Sent 2: </b>He slept.<br>",
            idx=dict(paragraph=3, question=7, answer=9),
        ),
        "superglue-multirc question: Who slept? answer: Tom paragraph: Sent 1: Tom "
        "went home. Sent 2: He slept. ", "1",
        "multirc question: Who slept? answer: Tom paragraph: Sent 1: Tom went home. "
        "Sent 2: He slept. ", "True",
    ),
    (
        "superglue-wsc.fixed", "train", "train",
        dict(
            text="Ann thanked Mary because she had helped her.", span1_index=2,
            span1_text="Mary", span2_index=4, span2_text="she", label=1, **IDX,
        ),
        "superglue-wsc.fixed text: Ann thanked * Mary * because # she # had helped "
        "her.", "1",
        "wsc text: Ann thanked * Mary * because # she # had helped her.", "True",
    ),
    *(
        (
            name, "test", "validation", MRQA,
            f"{name} {MRQA_INPUT}", "J . Doe",
            "question: Who founded Acme ? context: [ PAR ] Acme was founded by J . "
            "Doe . ", "J . Doe",
        )
        for name in ("nq", "hotpotqa", "newsqa", "searchqa")
    ),
    (
        "winogrande", "test", "validation",
        dict(
            sentence="The cup missed the box because the _ was big.", option1="cup",
            option2="box", label=0,
        ),
        "winogrande sentence: The cup missed the box because the _ was big. option0: "
        "cup option1: box", "0",
        "winogrande sentence: The cup missed the box because the _ was big. option1: "
        "cup option2: box", "option1",
    ),
    (
        "yelp_polarity", "test", "test",
        dict(text="Great tacos,\\n will return.", label="2"),
        "yelp_polarity sentence: Great tacos,\\n will return.", "1",
        "yelp_polarity sentence: Great tacos,\\n will return.", "positive",
    ),
    (
        "scitail", "train", "train",
        dict(
            premise="Ice melts at 0 C.", hypothesis="Ice melts when warm.",
            label="entails",
        ),
        "scitail premise: Ice melts at 0 C. hypothesis: Ice melts when warm.", "0",
        "scitail premise: Ice melts at 0 C. hypothesis: Ice melts when warm.",
        "entailment",
    ),
    (
        "paws", "test", "test",
        dict(sentence1="Bo beat Al .", sentence2="Al beat Bo .", label=0),
        "paws sentence1: Bo beat Al . sentence2: Al beat Bo .", "0",
        "paws sentence1: Bo beat Al . sentence2: Al beat Bo .", "different_meaning",
    ),
    (
        "e2e", "train", "train",
        dict(
            meaning_representation="name[The Mill], eatType[pub], area[riverside]",
            target="The Mill is a pub by the river.", references=[], **GEM,
        ),
        *(
            "e2e meaning_representation: name[The Mill], eatType[pub], area[riverside]",
            "The Mill is a pub by the river.",
        ) * 2,
    ),
    (
        "common_gen", "test", "validation",
        dict(
            concept_set_id=0, concepts=["dog", "frisbee", "catch"],
            target="A dog leaps to catch a frisbee.",
            references=["A dog leaps to catch a frisbee.", "Dogs catch it."], **GEM,
        ),
        *("common_gen concepts: dog frisbee catch", "A dog leaps to catch a frisbee.")
        * 2,
    ),
    (
        "web_nlg", "train", "train",
        dict(
            input=["Oslo | country | Norway", "Oslo | mayor | A_B"], category="City",
            webnlg_id="w", target="Oslo, whose mayor is A B, is in Norway.",
            references=[], **GEM,
        ),
        *(
            "web_nlg triples: Oslo | country | Norway && Oslo | mayor | A_B",
            "Oslo, whose mayor is A B, is in Norway.",
        ) * 2,
    ),
]  # fmt: skip
GOLDS = {
    "superglue-record": ["The mayor"],
    **dict.fromkeys(
        ("squad", "nq", "hotpotqa", "newsqa", "searchqa"), ["J . Doe", "Doe"]
    ),
    "stsb": "2.450000",
    "e2e": ["The Mill is a pub by the river."],
    "common_gen": ["A dog leaps to catch a frisbee.", "Dogs catch it."],
    "web_nlg": ["Oslo, whose mayor is A B, is in Norway."],
}

# What the reference makes of the same rows where that is not as with digits: input,
# target and gold answer; None where it is the same.
REFERENCE = {
    "stsb": (None, "2.5", "2.5"),
    "winogrande": (
        "winogrande sentence: The cup missed the box because the _ was big. option0: "
        "cup option1: cup", None, "0",
    ),
    "squad": (
        None,
        " { ' text ' : [ ' J . Doe ' , ' Doe ' ] , ' answer_start ' : [ 22 , 25 ] } ",
        ["{ ' text ' : [ ' J . Doe ' , ' Doe ' ] , ' answer_start ' : [ 22 , 25 ] }"],
    ),
    **dict.fromkeys(
        ("nq", "hotpotqa", "newsqa", "searchqa"), (None, None, ["J . Doe"])
    ),
    "superglue-multirc": (None, None, "1"),
    "common_gen": (None, None, ["A dog leaps to catch a frisbee."]),
}  # fmt: skip
# Scores of one row: of the target itself as the answer, and of the answer "wrong". One
# row has no correlation, and of three classes only one is found in it.
SCORES = {
    "accuracy": (100.0, 0.0),
    "f1": (100.0, 0.0),
    "em": (100.0, 0.0),
    "f1_multiclass": (100 / 3, 0.0),
    "matthews_correlation": (0.0, 0.0),
    "pearson": (0.0, 0.0),
    "spearmanr": (0.0, 0.0),
    "bleu": (1.0, 0.0),
    "rouge1": (1.0, 0.0),
    "rouge2": (1.0, 0.0),
    "rougeL": (1.0, 0.0),
}
