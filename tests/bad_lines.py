"""Lines that `predict` cannot answer, one of each kind, and what it says of each.

They are sent to a store of `STORED`; test_predict.py and benchmarks/soak.py read this.
"""

STORED = ("sst2/dtvg-seed0", "mrpc/dtvg-seed0", "mrpc/stage1-seed0", "own/dtvg-seed0")

LONG = 2**20 + 1
BAD: list[tuple[bytes, str]] = [
    (b"", "the line is empty"),
    (b" \t \r", "the line is empty"),
    (b"\xff\xfe{\x00}\x00", "not UTF-8 at byte 1"),
    (b'{"inputs": "caf\xe9"}', "not UTF-8 at byte 16"),
    (b"\x00{\x00}\x00", "the line has a NUL at character 1: it is not text"),
    (b"x" * LONG, "the line has more than 1,048,576 bytes"),
    (
        b"plain words",
        'the line names neither "task" nor "prompt", and there is no --prompt',
    ),
    (
        b'{"inputs": "x"}',
        'the line names neither "task" nor "prompt", and there is no --prompt',
    ),
    (b'"a text"', 'the line is JSON but not an object: give {"inputs": TEXT}'),
    (b'["a text"]', 'the line is JSON but not an object: give {"inputs": TEXT}'),
    (
        b'{"task": "sst2", "sentence": ',
        "the line is not JSON (Expecting value: column 30 (char 29))",
    ),
    (
        b"{'task': 'sst2'}",
        "the line is not JSON (Expecting property name enclosed in double quotes: "
        "column 2 (char 1))",
    ),
    (
        b'{"task": "sst2"} {"task": "sst2"}',
        "the line is not JSON (Extra data: column 18 (char 17))",
    ),
    (
        b'{"task": "sst2", "sentence": "a\tb"}',
        "the line is not JSON (Invalid control character at: column 32 (char 31))",
    ),
    (
        b'{"task": "sst2", "sentence": NaN}',
        "the line is not JSON (NaN is not a JSON value)",
    ),
    (
        b'{"task": "sst2", "sentence": 1e999}',
        "the line is not JSON (the number 1e999 is too large)",
    ),
    (
        b'{"task": "sst2", "task": "mrpc", "inputs": "x"}',
        "the line is not JSON (the name 'task' is there twice)",
    ),
    (
        b'{"task": "sst2", "sentence": ' + b"1" * 5000 + b"}",
        "the line is not JSON (the number 1111111111... has 5000 digits)",
    ),
    (
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "the line is not JSON (it has more than 100 levels)",
    ),
    (
        b'{"task": "sst2", "sentence": "a \\ud800 b"}',
        "the line is not JSON (\\ud800 is half of a surrogate pair)",
    ),
    (b'{"task": 5, "inputs": "x"}', "the field 'task' is 5: it must be text"),
    (
        b'{"task": ["sst2"], "inputs": "x"}',
        "the field 'task' is ['sst2']: it must be text",
    ),
    (b'{"task": "sst", "inputs": "x"}', "unknown task 'sst': did you mean 'sst2'?"),
    (b'{"task": "", "inputs": "x"}', "unknown task '': known are"),
    (b'{"task": "reviews", "inputs": "x"}', "unknown task 'reviews': known are"),
    (
        b'{"task": "rte", "inputs": "x"}',
        'the store has no prompt of rte: name one by "prompt"',
    ),
    (b'{"prompt": 7, "inputs": "x"}', "the field 'prompt' is 7: it must be text"),
    (
        b'{"prompt": false, "inputs": "x"}',
        "the field 'prompt' is False: it must be text",
    ),
    (b'{"prompt": "", "inputs": "x"}', "there is no prompt '' in the store"),
    (
        b'{"prompt": "sst2/dtvg-seed1", "inputs": "x"}',
        "there is no prompt 'sst2/dtvg-seed1' in the store",
    ),
    (b'{"task": "sst2"}', "the field 'sentence' is missing: sst2 takes sentence"),
    (
        b'{"task": "sst2", "Sentence": "x"}',
        "the field 'sentence' is missing: sst2 takes sentence",
    ),
    (
        b'{"task": "mrpc", "sentence1": "x"}',
        "the field 'sentence2' is missing: mrpc takes sentence1, sentence2",
    ),
    (
        b'{"task": "sst2", "sentence": null}',
        "the field 'sentence' is None: it must be text",
    ),
    (
        b'{"task": "sst2", "sentence": {"text": "x"}}',
        "the field 'sentence' is {'text': 'x'}: it must be text",
    ),
    (
        b'{"task": "sst2", "inputs": ["x"]}',
        "the field 'inputs' is ['x']: it must be text",
    ),
    (
        b'{"task": "sst2", "sentence": "a\\u0000b"}',
        "the field 'sentence' has a NUL at character 2: it is not text",
    ),
    (
        b'{"prompt": "own/dtvg-seed0", "review": "x"}',
        'own is a task of your own: give "inputs", the text, or name its module by '
        "--tasks_module",
    ),
]
