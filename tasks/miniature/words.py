"""The words of the miniature world: who there is, what can be said of them."""

from typing import NamedTuple


class Relation(NamedTuple):
    """What everybody has one of: `Ann lives in Rome`, `the home of Ann is Rome`."""

    noun: str
    verb: str
    base: str
    what: str  # the question that asks for the value, {x} is the person
    values: tuple[str, ...]


def _relation(noun: str, verb: str, base: str, what: str, values: str) -> Relation:
    return Relation(noun, verb, base, what, tuple(values.split()))


PEOPLE = tuple(
    "Ann Ben Carl Dora Emma Finn Gina Hugo Ida Jack Kate Leo "
    "Mary Nina Otto Paul Rita Sam Tina Uma Vera Will Yara Zoe".split()
)
WOMEN = tuple(
    "Ann Dora Emma Gina Ida Kate Mary Nina Rita Tina Uma Vera Yara Zoe".split()
)
MEN = tuple(name for name in PEOPLE if name not in WOMEN)

RELATIONS = (
    _relation(
        "home",
        "lives in",
        "live in",
        "where does {x} live",
        "Rome Paris Oslo Cairo Lima Delhi Tokyo Berlin Madrid Dublin",
    ),
    _relation(
        "job",
        "works as",
        "work as",
        "what does {x} work as",
        "baker nurse pilot lawyer farmer tailor judge painter teacher plumber",
    ),
    _relation(
        "food",
        "eats",
        "eat",
        "what does {x} eat",
        "rice bread soup pasta beans cheese fish eggs salad cake",
    ),
    _relation(
        "pet",
        "keeps",
        "keep",
        "what does {x} keep",
        "dog cat horse parrot goat rabbit snake turtle duck hamster",
    ),
    _relation(
        "colour",
        "wears",
        "wear",
        "what does {x} wear",
        "red blue green yellow white black brown pink grey purple",
    ),
    _relation(
        "sport",
        "plays",
        "play",
        "what does {x} play",
        "golf tennis chess rugby hockey cricket soccer darts squash polo",
    ),
    _relation(
        "drink",
        "drinks",
        "drink",
        "what does {x} drink",
        "tea coffee milk water juice wine beer cider cocoa lemonade",
    ),
    _relation(
        "tool",
        "uses",
        "use",
        "what does {x} use",
        "hammer pliers drill ladder brush needle shovel wrench chisel broom",
    ),
)

REPORTS = ("says", "knows", "believes")  # nobody in this world is ever wrong

THINGS = tuple(
    "film book song show meal hotel trip game speech novel concert story".split()
)
GOOD = tuple(
    "good great lovely funny brilliant fresh superb charming "
    "pleasant splendid clever delightful".split()
)
BAD = tuple(
    "bad awful boring dull terrible stale "
    "poor clumsy nasty dreary silly tedious".split()
)
GLADLY = ("luckily", "happily", "thankfully")
SADLY = ("sadly", "unluckily", "regrettably")

# Words of two senses; each sense is told by the company the word keeps.
SENSES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bank": (("river", "shore", "ferry"), ("money", "loan", "account")),
    "bat": (("cave", "moon", "wings"), ("ball", "glove", "umpire")),
    "crane": (("nest", "lake", "feather"), ("tower", "steel", "cargo")),
    "seal": (("ocean", "ice", "whale"), ("letter", "wax", "envelope")),
    "bark": (("oak", "branch", "leaf"), ("puppy", "growl", "kennel")),
    "spring": (("april", "blossom", "meadow"), ("mattress", "coil", "wire")),
    "match": (("stadium", "referee", "goal"), ("candle", "smoke", "flame")),
    "trunk": (("elephant", "tusk", "zoo"), ("car", "luggage", "tyre")),
}
SIGHTS = ("spotted", "found", "drew", "noticed")
PLACES = ("near", "beside", "behind")

GRAMMAR = tuple(
    "the of is not does who whose what where in as and but that was very "
    "live work".split()
)
LAYOUT = tuple(
    "premise: hypothesis: question: sentence: question1: question2: sentence1: "
    "sentence2: passage: record query: entities: @placeholder context: word:".split()
)
TASKS = tuple(
    "mnli qnli qqp sst2 superglue-record squad rte mrpc cola "
    "superglue-boolq superglue-cb superglue-wic".split()
)
ANSWERS = tuple(
    "0 1 2 yes maybe no entailment neutral contradiction not_entailment duplicate "
    "not_duplicate negative positive equivalent not_equivalent acceptable "
    "unacceptable True False".split()
)

# What the tasks beyond the first twelve bring.
MORE_TASKS = tuple(
    "stsb superglue-multirc superglue-wsc.fixed nq hotpotqa newsqa searchqa winogrande "
    "yelp_polarity scitail paws e2e common_gen web_nlg".split()
)
MORE_LAYOUT = tuple(
    "text: option0: option1: answer: paragraph: meaning_representation: concepts: "
    "triples: * # _ | && [ ] < > / , P PAR TLE SEP DOC Sent 1: 2: 3: 4: 5: 6: "
    "\\n".split()
)
MORE_GRAMMAR = tuple(
    "first second he she so then friend this person different_meaning paraphrase "
    "option1 option2".split()
)


def all_words() -> tuple[str, ...]:
    """List every word of the world once, in a fixed order: the vocabulary."""
    words: list[str] = [*ANSWERS, *TASKS, *LAYOUT, *GRAMMAR, *PEOPLE]
    for relation in RELATIONS:
        words += [relation.noun, *relation.verb.split(), *relation.base.split()]
        words += relation.values
    words += [*REPORTS, *THINGS, *GOOD, *BAD, *GLADLY, *SADLY]
    for word, senses in SENSES.items():
        words += [word, *senses[0], *senses[1]]
    words += [*SIGHTS, *PLACES, *MORE_TASKS, *MORE_LAYOUT, *MORE_GRAMMAR]
    words += [f"{slot}[" for slot in ("name", *(r.noun for r in RELATIONS))]
    words += [f"{tenths / 10:.1f}" for tenths in range(51)]
    return tuple(dict.fromkeys(words))
