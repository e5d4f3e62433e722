"""A reader that knows the world's words, not how its texts are made, on newer tasks."""

import random
import re

import pytest
import sentencepiece
from test_miniature import ALL, read_fact, read_opinion, read_question

from tasks.miniature import bases, needs, rows, vocabulary, words
from tasks.task_info import TASKS

SMALL = 200


def small(name):
    """Draws some training rows of a dataset."""
    dataset = ALL[name]
    split = next(iter(dataset.rows))
    drawn = rows.rows(dataset._replace(rows={split: SMALL}), 3)[split]
    return [row for _, row in drawn]


def read(text, joint=" and "):
    return [read_fact(part) for part in text.split(joint)]


def alike(one, two):
    """Scores two facts: see `skills.likeness`."""
    (p, k, v, h), (q, m, w, g) = one, two
    if (p, k, v, h) == (q, m, w, g):
        return 5
    if (p, k) == (q, m):
        return 3
    return 2 if (k, v, h) == (m, w, g) else 0


@pytest.mark.parametrize(
    "one, two, score",
    [
        ("Ann eats rice", "the food of Ann is rice", 5),
        ("Ann eats rice", "Ann eats soup", 3),
        ("Ann eats rice", "Ann does not eat rice", 3),
        ("Ann eats rice", "Ben eats rice", 2),
        ("Ann eats rice", "Ben keeps dog", 0),
    ],
)
def test_the_reader_compares_by_hand(one, two, score):
    assert alike(read_fact(one), read_fact(two)) == score


def test_similarities_are_means_over_facts():
    found = set()
    for row in small("stsb"):
        pairs = zip(read(row["sentence1"]), read(row["sentence2"]), strict=True)
        scores = [alike(*pair) for pair in pairs]
        assert row["label"] == pytest.approx(sum(scores) / len(scores))
        found.add(round(row["label"], 1))
    assert {0.0, 2.5, 5.0, 3.3} < found  # thirds, too, and both ends


def test_reordered_words_say_the_same_or_not():
    for row in small("labeled_final_tokenized"):
        one, two = row["sentence1"], row["sentence2"]
        assert sorted(one.split()) == sorted(two.split())
        assert (sorted(read(one)) == sorted(read(two))) == row["label"]


def test_pronouns_mean_the_last_named_of_their_kind():
    labels = []
    for row in small("wsc.fixed"):
        parts = row["text"].split()
        name, said = parts[row["span1_index"]], parts[row["span2_index"]]
        assert (name, said) == (row["span1_text"], row["span2_text"])
        assert (said == "she") == ((name in words.WOMEN) == bool(row["label"]))
        labels.append(row["label"])
    assert sum(labels) == SMALL // 2


def test_one_option_fills_the_blank():
    for row in small("winogrande"):
        told, so = row["sentence"].split(" so ")
        options = [row["option1"], row["option2"]]
        facts = read(told)
        right = [o for o in options if read_fact(so.replace("_", o)) in facts]
        assert right == [options[row["label"]]]


def test_the_last_opinion_of_a_review_decides():
    for row in small("yelp_polarity_reviews"):
        parts = re.split(r" and then | \\n ", row["text"])
        opinions = [part for part in parts if " was " in part]
        assert read_opinion(opinions[-1]) == row["label"]


def test_science_entails_or_is_open():
    from test_miniature import follows

    for row in small("sci_tail"):
        answer = follows(read(row["premise"]), read_fact(row["hypothesis"]))
        assert (answer == "yes") == (row["label"] == 0)


def answers(question, facts):
    person, kind, value = read_question(question)
    if person is None:
        return [p for p, k, v, _ in facts if (k, v) == (kind, value)]
    return [v for p, k, v, _ in facts if (p, k) == (person, kind)]


def test_answers_to_a_numbered_paragraph():
    labels = []
    for row in small("multirc"):
        sentences = re.findall(r"<b>Sent \d+: </b>(.*?)<br>", row["paragraph"])
        right = answers(row["question"], [read_fact(text) for text in sentences])
        assert (row["answer"] in right) == bool(row["label"])
        labels.append(row["label"])
    assert 0.3 < sum(labels) / len(labels) < 0.7


MARKS = {
    "natural_questions": lambda text: re.findall(r"<P> (.*?) </P>", text),
    "news_qa": lambda text: [
        part.split(" that ")[1] for part in text.split(" and then ") if "that" in part
    ],
    "search_qa": lambda text: [
        fact
        for page in text.split("[DOC] ")[1:]
        for fact in page.split("[PAR] ")[1].strip().split(" and ")
    ],
}


@pytest.mark.parametrize("name", MARKS)
def test_all_answers_of_a_page_are_known(name):
    several = 0
    for row in small(name):
        facts = [read_fact(text) for text in MARKS[name](row["context"])]
        question = row["question"].replace("this person", "who")
        if question.startswith("the "):
            question = f"what is {question}"
        assert sorted(row["answers"]) == sorted(answers(question, facts))
        several += len(row["answers"]) > 1
        for answer, spans in zip(
            row["answers"], row["detected_answers"]["char_spans"], strict=True
        ):
            for start, end in zip(spans["start"], spans["end"], strict=True):
                assert row["context"][start : end + 1] == answer
    assert several


def test_two_hops_lead_to_the_friend():
    for row in small("hotpot_qa"):
        pages = re.findall(r"\[TLE\] (\w+) \[SEP\] ([^\[]*)", row["context"])
        facts, friend = [], {}
        for _, text in pages:
            for part in text.strip().split(" and "):
                if "friend" in part:
                    one, two = re.findall(r"\b[A-Z]\w+", part)
                    backwards = part.startswith(one)
                    friend[two if backwards else one] = one if backwards else two
                else:
                    facts.append(read_fact(part))
        (whom,) = re.findall(r"friend of (\w+)", row["question"])
        question = row["question"].replace(f"the friend of {whom}", friend[whom])
        assert answers(question, facts) == row["answers"]


def test_texts_say_what_the_data_say():
    for row in small("e2e_nlg"):
        slots = dict(re.findall(r"(\w+)\[ (\w+) \]", row["meaning_representation"]))
        person = slots.pop("name")
        for text in row["references"]:
            parts = text.split(" and ")
            told = [p if person in p else f"{person} {p}" for p in parts]
            assert {k: v for _, k, v, _ in map(read_fact, told)} == slots
    for row in small("web_nlg_en"):
        triples = [tuple(triple.split(" | ")) for triple in row["input"]]
        for text in row["references"]:
            assert [fact[:3] for fact in read(text)] == triples
    for row in small("common_gen"):
        for text in row["references"]:
            for fact in read(text):
                assert {fact[0], fact[2]} < set(row["concepts"])
        assert row["target"] in row["references"]


def test_what_every_task_needs_is_known():
    assert set(needs.NEEDS) == set(TASKS)
    assert {skill for found in needs.NEEDS.values() for skill in found} == set(
        needs.SKILLS
    )


BASES = {base.name: base for base in bases.bases()}


@pytest.mark.parametrize("name", BASES)
def test_every_word_of_every_base_is_a_piece(name):
    pieces = sentencepiece.SentencePieceProcessor(
        model_proto=vocabulary.vocabulary_model()
    )
    rng = random.Random(5)
    for label_map in BASES[name].maps:
        for _ in range(20):
            text, target = BASES[name].example(rng, label_map)
            for words_of in (text, target):
                ids = pieces.encode(words_of)
                assert pieces.unk_id() not in ids, words_of
                assert pieces.decode(ids) == words_of
            assert len(target.split()) < 20


def test_held_out_digits_and_layouts_are_never_shown():
    held = {"reordered": "10", "pronoun": "10", "review": "10", "right_answer": "10"}
    for name, digits in (held | {"blank": "01"}).items():
        assert not any(label.startswith(digits) for label in BASES[name].maps)
    rng = random.Random(0)
    for name, base in BASES.items():
        text, _ = base.example(rng, "words")
        assert "[ DOC ]" not in text, name  # searchqa's layout


def test_answers_of_bases_are_those_of_the_reader():
    """An independent reading of some of the newer bases."""
    rng = random.Random(1)
    for _ in range(50):
        text, target = BASES["blank_name"].example(rng, "words")
        told, so = re.search(r"sentence: (.*) option0", text)[1].split(" so ")
        assert read_fact(so.replace("_", target)) in read(told)
        text, target = BASES["mentioned"].example(rng, "words")
        told, first, second = re.search(
            "sentence: (.*) option0: (.*) option1: (.*)", text
        ).groups()
        assert read_fact(told)[0] == {"first": first, "second": second}[target]
        text, target = BASES["meant"].example(rng, "words")
        assert (target in words.WOMEN) == ("# she #" in text) and target in text.split()
        text, target = BASES["bound"].example(rng, "words")
        told, again = text.split(" premise: ")[1].split(" hypothesis: ")
        assert (read_fact(again) in read(told)) == (target == "yes")
        text, target = BASES["numbered"].example(rng, "words")
        question = re.search(r"question: (.*) answer: ", text)[1]
        sentences = re.split(r"Sent \d: ", text.split("paragraph: ")[1])[1:]
        facts = [read_fact(sentence.strip()) for sentence in sentences]
        assert answers(question, facts) == [target]
