"""Settings of a job that cannot be: a sentence names the setting and what would do."""

import dataclasses
import pathlib

import pytest
import tiny_job

from dtvg_jax.errors import InputError

# Those of a stage are in training/test_stages.py, the commonest in jobs/test_job.py.
CASES = [
    ("backbone", None, "backbone = None: it must be text"),
    ("backbone", 5, "backbone = 5: it must be text"),
    ("sources", "sst2", "sources = 'sst2': it must be a list of texts"),
    ("sources", [1], "sources = [1]: it must be a list of texts"),
    ("sources", [["sst2"]], "sources = [['sst2']]: it must be a list of texts"),
    ("sources", ["sst2", "sst2"], "sources names 'sst2' twice"),
    ("sources", ["../sst2"], "unknown task '../sst2'"),
    ("sources", [""], "unknown task ''"),
    ("targets", ["superglue-rtx"], "unknown task 'superglue-rtx': did you mean"),
    ("targets", None, "targets = None: it must be a list of texts"),
    ("targets", ["mrpc", "mrpc"], "targets names 'mrpc' twice"),
    ("methods", ["dtvg", "dtvg"], "methods names 'dtvg' twice"),
    ("methods", ["DTVG"], "unknown method 'DTVG'"),
    ("methods", "dtvg", "methods = 'dtvg': it must be a list"),
    ("seeds", 0, "seeds = 0: it must be a list of whole numbers"),
    ("seeds", ["0"], "seeds = ['0']: it must be a list of whole numbers"),
    ("seeds", [0.5], "seeds = [0.5]: it must be a list of whole numbers"),
    ("seeds", [True], "seeds = [True]: it must be a list of whole numbers"),
    ("seeds", [2**32], "seeds = [4294967296]: it must be a list of whole numbers from"),
    ("seeds", [], "a job needs at least one seed"),
    ("prompt_length", -1, "prompt_length = -1: it must be a whole number"),
    ("prompt_length", 4.0, "prompt_length = 4.0: it must be a whole number"),
    ("prompt_length", "4", "prompt_length = '4': it must be a whole number"),
    ("inputs_length", 0, "inputs_length = 0: it must be a whole number"),
    ("inputs_length", "a", "inputs_length = 'a': it must be a whole number"),
    ("targets_length", 0, "targets_length = 0: it must be a whole number"),
    ("validation_rows", 0, "validation_rows = 0: it must be a whole number"),
    ("validation_rows", 1.5, "validation_rows = 1.5: it must be a whole number"),
    ("test_rows", -3, "test_rows = -3: it must be a whole number"),
    ("test_rows", "all", "test_rows = 'all': it must be a whole number of at least"),
    ("shots", 0, "shots = 0: it must be a whole number"),
    ("shot_rule", "random", "shot_rule = 'random': it must be 'random_k' or"),
    ("label_style", "Words", "label_style = 'Words': it must be 'digits' or"),
    ("dtype", "float16", "dtype = 'float16': it must be 'float32' or 'bfloat16'"),
    ("download", 1, "download = 1: it must be True or False"),
    ("evaluation_batch_size", 0, "evaluation_batch_size = 0: it must be a whole"),
    ("data_dir", 5, "data_dir = 5: it must be text"),
    ("cache_dir", None, "cache_dir = None: it must be text"),
    ("tasks_module", 5, "tasks_module = 5: it must be text"),
    ("stage1", None, "stage1 must be a Stage: @stage1/stages.Stage()"),
    ("stage2", "stage1", "stage2 must be a Stage: @stage2/stages.Stage()"),
]


@pytest.mark.parametrize(("name", "value", "said"), CASES)
def test_a_setting_that_cannot_be(name, value, said):
    with pytest.raises(InputError) as error:
        dataclasses.replace(tiny_job.make(pathlib.Path("cache")), **{name: value})
    assert str(error.value).startswith(said)
