"""Soft prompts of many tasks on one frozen language model, and their transfer.

>>> import dtvg_jax as dtvg
>>> backbone = dtvg.load_backbone("miniature")
>>> stage = dtvg.Stage(steps=2, learning_rate=0.1, validate_every=2)
>>> short = dict(prompt_length=4, inputs_length=32, targets_length=2, seeds=[0])
>>> few = dict(validation_rows=8, test_rows=8, evaluation_batch_size=8)
>>> prompts = dtvg.learn(["mnli", "qqp"], "learnt", stage=stage, **short, **few)
stage1...
>>> prompts.names()
['mnli/stage1-seed0', 'qqp/stage1-seed0']
>>> results = dtvg.transfer(
...     ["mnli", "qqp"], ["rte"], "moved", stage1=stage, stage2=stage, **short, **few
... )
stage1...
>>> sorted({row["method"] for row in results["rows"]})
['dtvg', 'prompt_tuning', 'spot']
>>> [row] = dtvg.evaluate(
...     backbone, prompts, "tested", prompts=["qqp/stage1-seed0"], rows=8
... )
>>> row["task"], row["examples"]
('qqp', 8)
>>> line = b'{"task": "qqp", "question1": "who has a dog", "question2": "who"}'
>>> [answer] = dtvg.predict(backbone, prompts, [line])
>>> answer["line"], answer["prompt"]
(1, 'qqp/stage1-seed0')
"""

import importlib
from typing import Any

# `python -m dtvg_jax.train` finds the file of the command there.
__path__.append(f"{__path__[0]}/cli/commands")

# Names are loaded when they are asked for: a command that only parses flags, or a
# program that only uses the algebra, loads no more than it needs.
_SURFACE = {
    "Job": "jobs.job",
    "METHODS": "methods",
    "InputError": "errors",
    "PromptStore": "store.prompt_store",
    "Stage": "training.stages",
    "evaluate": "inference.stored_prompts",
    "learn": "jobs.python_api",
    "load_backbone": "formats.load",
    "predict": "inference.predict_lines",
    "run": "jobs.pipeline",
    "task_vectors": "",
    "transfer": "jobs.python_api",
}


def __getattr__(name: str) -> Any:
    if name not in _SURFACE:
        raise AttributeError(f"module 'dtvg_jax' has no attribute {name!r}")
    where = _SURFACE[name]
    if not where:
        return importlib.import_module(f"dtvg_jax.{name}")
    return getattr(importlib.import_module(f"dtvg_jax.{where}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_SURFACE})
