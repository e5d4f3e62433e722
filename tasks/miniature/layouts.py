"""How texts stand in each task, as the reference writes them, without the task name."""


def pair(first: str, second: str, names: tuple[str, str]) -> str:
    """Write two named fields, `premise: ... hypothesis: ...`."""
    return f"{names[0]}: {first} {names[1]}: {second}"


def premise(first: str, second: str) -> str:
    return pair(first, second, ("premise", "hypothesis"))


def sentences(first: str, second: str) -> str:
    return pair(first, second, ("sentence1", "sentence2"))


def questions(first: str, second: str) -> str:
    return pair(first, second, ("question1", "question2"))


def question_sentence(first: str, second: str) -> str:
    return pair(first, second, ("question", "sentence"))


def question_passage(first: str, second: str) -> str:
    return pair(first, second, ("question", "passage"))


def question_context(first: str, second: str) -> str:
    return pair(first, second, ("question", "context"))


def sentence(text: str) -> str:
    return f"sentence: {text}"


def word(first: str, second: str, word: str) -> str:
    return f"{sentences(first, second)} word: {word}"


def record(query: str, people: list[str], passage: str) -> str:
    entities = ", ".join(people)
    return f"record query: {query} entities: {entities} passage: {passage}"


def options(sentence: str, two: list[str]) -> str:
    return f"sentence: {sentence} option0: {two[0]} option1: {two[1]}"
