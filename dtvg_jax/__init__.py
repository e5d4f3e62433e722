"""Soft prompts of many tasks on one frozen language model, and their transfer.

    run(Job, folder) -> Report            a job: both stages, tests, report
    learn(tasks, folder) -> PromptStore   stage 1 alone
    transfer(sources, targets, folder) -> Report
    evaluate(Backbone, PromptStore, out, EvaluateSettings) -> list of scores
    predict(Backbone, PromptStore, lines, PredictSettings) -> answers, one by one
    load_backbone(folder) -> Backbone     of Hugging Face or T5X, or "miniature"
    Job, Stage, Search                    the settings of a job
    METHODS                               the prompt methods by name
    task_vectors                          similarity, grouping rules, merge
    InputError                            what is wrong with what the caller gave

>>> import dtvg_jax as dtvg
>>> backbone = dtvg.load_backbone("miniature")
>>> stage = dtvg.Stage(steps=2, learning_rate=0.1, warmup=0, validate_every=2)
>>> short = dict(prompt_length=4, inputs_length=32, targets_length=2, seeds=[0])
>>> few = dict(validation_rows=8, test_rows=8, evaluation_batch_size=8)
>>> prompts = dtvg.learn(["mnli", "qqp"], "learned", stage=stage, **short, **few)
stage1...
>>> prompts.names()
['mnli/stage1-seed0', 'qqp/stage1-seed0']
>>> report = dtvg.transfer(
...     ["mnli", "qqp"], ["rte"], "moved", stage1=stage, stage2=stage, **short, **few
... )
stage1...
>>> sorted({row.method for row in report.results.rows})
['dtvg', 'prompt_tuning', 'spot']
>>> settings = dtvg.EvaluateSettings(prompts=["qqp/stage1-seed0"], rows=8)
>>> [result] = dtvg.evaluate(backbone, prompts, "tested", settings)
>>> result.task, result.examples
('qqp', 8)
>>> line = b'{"task": "qqp", "question1": "who has a dog", "question2": "who"}'
>>> [answer] = dtvg.predict(backbone, prompts, [line])
>>> answer["line"], answer["prompt"]
(1, 'qqp/stage1-seed0')
"""

import pkgutil
import sys
import types
from typing import TYPE_CHECKING

from dtvg_jax.cli import early_signals

if TYPE_CHECKING:
    from dtvg_jax import task_vectors as task_vectors
    from dtvg_jax.errors import InputError as InputError
    from dtvg_jax.formats.load import load_backbone as load_backbone
    from dtvg_jax.inference.predict_lines import PredictSettings as PredictSettings
    from dtvg_jax.inference.predict_lines import predict as predict
    from dtvg_jax.inference.stored_prompts import EvaluateSettings as EvaluateSettings
    from dtvg_jax.inference.stored_prompts import evaluate as evaluate
    from dtvg_jax.jobs.job import Job as Job
    from dtvg_jax.jobs.pipeline import run as run
    from dtvg_jax.jobs.python_api import learn as learn
    from dtvg_jax.jobs.python_api import transfer as transfer
    from dtvg_jax.jobs.search import Search as Search
    from dtvg_jax.methods import METHODS as METHODS
    from dtvg_jax.store.prompt_store import PromptStore as PromptStore
    from dtvg_jax.training.stages import Stage as Stage

early_signals.end_if_command()

# Names are loaded on first use: a command that only parses flags, or a program that
# only uses the algebra, loads no more than it needs.
_SURFACE = {
    "EvaluateSettings": "inference.stored_prompts:EvaluateSettings",
    "InputError": "errors:InputError",
    "Job": "jobs.job:Job",
    "METHODS": "methods:METHODS",
    "PredictSettings": "inference.predict_lines:PredictSettings",
    "PromptStore": "store.prompt_store:PromptStore",
    "Search": "jobs.search:Search",
    "Stage": "training.stages:Stage",
    "evaluate": "inference.stored_prompts:evaluate",
    "learn": "jobs.python_api:learn",
    "load_backbone": "formats.load:load_backbone",
    "predict": "inference.predict_lines:predict",
    "run": "jobs.pipeline:run",
    "task_vectors": "task_vectors:",
    "transfer": "jobs.python_api:transfer",
}

# `python -m dtvg_jax.train` finds the file of the command there.
__path__.append(f"{__path__[0]}/cli/commands")


class _Package(types.ModuleType):
    """Keeps the surface in place when modules of the same names are imported.

    `import dtvg_jax.evaluate` loads the command, and would then put that module where
    the function `dtvg_jax.evaluate` is expected.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _SURFACE and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name not in _SURFACE:
        raise AttributeError(f"module 'dtvg_jax' has no attribute {name!r}")
    return pkgutil.resolve_name(f"dtvg_jax.{_SURFACE[name]}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SURFACE})
