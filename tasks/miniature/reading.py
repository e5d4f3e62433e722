"""Tasks of a question on a passage, as rows of the real datasets."""

import random

from . import passages, skills
from .rows import Dataset, Row, sizes

SOURCE = sizes(4000, 1000)
TARGET = sizes(1128, 1000)  # the rule takes 1,000 rows of train for validation


def _squad(rng: random.Random, _: int) -> Row:
    question, context, answer = skills.value_in_text(rng)
    answers = {"text": [answer], "answer_start": [context.index(answer)]}
    return {"question": question, "context": context, "answers": answers}


def _record(rng: random.Random, _: int) -> Row:
    query, people, passage, answer = skills.person_in_text(rng)
    return {
        "query": query,
        "passage": passage,
        "entities": people,
        "answers": [answer],
    }


def _mrqa(draw, subset: str):
    """Makes rows of MRQA: texts with their tokens, and where the answers stand."""

    def row(rng: random.Random, _: int) -> Row:
        question, context, answers = draw(rng)
        return {
            "subset": subset,
            "context": context,
            "context_tokens": _tokens(context),
            "question": question,
            "question_tokens": _tokens(question),
            "answers": answers,
            "detected_answers": _detected(context, answers),
        }

    return row


def _tokens(text: str) -> Row:
    words, starts, at = text.split(), [], 0
    for word in words:
        starts.append(text.index(word, at))
        at = starts[-1] + len(word)
    return {"tokens": words, "offsets": starts}


def _detected(context: str, answers: list[str]) -> Row:
    words = context.split()
    chars, tokens = [], []
    for answer in answers:
        places = [i for i, word in enumerate(words) if word == answer]
        starts = _tokens(context)["offsets"]
        tokens.append({"start": places, "end": places})
        begin = [starts[i] for i in places]
        chars.append({"start": begin, "end": [b + len(answer) - 1 for b in begin]})
    return {"text": answers, "char_spans": chars, "token_spans": tokens}


def _multirc(rng: random.Random, _: int) -> list[Row]:
    """Draws a paragraph with its questions, and makes a row of each answer."""
    paragraph, questions = passages.numbered(rng)
    return [
        {
            "paragraph": paragraph,
            "question": question,
            "answer": answer,
            "label": int(right),
            "idx": {"question": q, "answer": a},
        }
        for q, (question, answers) in enumerate(questions)
        for a, (answer, right) in enumerate(answers)
    ]


def _of_paragraph(row: Row, i: int, group: int) -> Row:
    return row | {"idx": row["idx"] | {"paragraph": group}}


def _of_query(row: Row, i: int, group: int) -> Row:
    return row | {"idx": {"passage": i, "query": i}}


def _of_article(row: Row, i: int, group: int) -> Row:
    return row | {"id": f"{i:08d}", "title": "miniature"}


def _of_question(row: Row, i: int, group: int) -> Row:
    return row | {"qid": f"{i:08d}"}


SOURCES = (
    Dataset("super_glue/record:1.0.2", _record, SOURCE, 0, _of_query),
    Dataset("squad/v1.1:3.0.0", _squad, SOURCE, 0, _of_article),
)
TARGETS = (
    Dataset("super_glue/multirc:1.0.2", _multirc, sizes(256, 2000), 0, _of_paragraph),
    *(
        Dataset(f"mrqa/{name}:1.0.0", _mrqa(draw, subset), TARGET, 0, _of_question)
        for name, subset, draw in (
            ("natural_questions", "NaturalQuestionsShort", passages.page),
            ("hotpot_qa", "HotpotQA", passages.two_hops),
            ("news_qa", "NewsQA", passages.news),
            ("search_qa", "SearchQA", passages.search),
        )
    ),
)
