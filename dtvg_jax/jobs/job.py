"""The settings of a job."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from dtvg_jax import methods
from dtvg_jax.data import catalogue
from dtvg_jax.errors import (
    Bounds,
    Count,
    InputError,
    check_field_types,
    refuse_repeats,
)
from dtvg_jax.jobs.search import Search
from dtvg_jax.methods import Method, Start
from dtvg_jax.training.placement import Mesh
from dtvg_jax.training.stages import Stage

# Where files and arrays lie and how much is decoded at once changes no result, but for
# the rounding of sums in another order.
PLACES = ("backbone", "config", "data_dir", "download", "cache_dir")
PLACES += ("evaluation_batch_size", "mesh")
VARIANT_HINT = ": give one a `variant`"
# The range of NumPy's legacy generator, which draws P_init.
Seed = Annotated[int, Bounds(0, 2**32 - 1)]


@dataclasses.dataclass(frozen=True)
class Job:
    """The settings of a job.

    Attributes:
      backbone: a Hugging Face folder, or "miniature", the one in the package.
      config: attributes of the backbone's config.json; `--compile_only` takes them
        instead of the folder's, which need not be there.
      sources: tasks whose task prompt vectors are transferred.
      targets: tasks they are transferred to; without any, the job is stage 1 only.
      stage1: how the prompts of sources and targets are learned.
      stage2: how targets are tuned by each method.
      ceiling: how all weights of the backbone are tuned for each target, to show what
        prompts could reach at most; a copy of the backbone and a run for each target
        and seed. None: they are not.
      methods: names of `methods.METHODS`, "my_package.my_file:METHOD", or methods
        with settings of their own; without any, the job is stage 1 only.
      method_settings: what the methods that are named take instead of the defaults of
        their class: [@dtvg.Grouped()].
      search: what is tried of every method in stage 2, to choose from by validation;
        None: stage 2 as it is.
      prompts_from: stores of other jobs, or of imported prompts, that have the prompts
        of sources; only what they lack is learned.
      mixture: of SeqIO, such as "dtvg_sources", of which stage 1 learns one prompt, to
        start from (`combined_sources`).
      seeds: each gives a P_init, an order of the data, and lanes of its own.
      prompt_length: P.
      inputs_length: the most tokens of an input; longer ones are truncated. None: the
        task's own length in the catalogue, which a larger number does not exceed.
      targets_length: likewise of a target and of a prediction.
      data_dir: folder of prepared TFDS data, or "miniature", which is generated.
      download: download and prepare data sets that are missing there.
      tasks_module: a module that registers tasks of your own with SeqIO.
      label_style: "digits", "words", or "reference": digits, with the shortcuts and
        bugs of the reference (docs/tasks.md).
      shots: rows that targets are trained on, drawn for each seed; None: all.
      shot_rule: how they are drawn, "random_k" or "balanced_k".
      dtype: of the backbone, "float32" or "bfloat16".
      validation_rows: how many of the first rows of a validation split are used.
      test_rows: likewise of a test split.
      evaluation_batch_size: rows that are decoded at once where they are of full
        length; of shorter ones up to eight times as many. On a CPU they are no more
        than take some 400 MB.
      cache_dir: token tables, generated data and compiled programs; shared by jobs.
      mesh: how devices are divided, @placement.Mesh(); None: as the backbone's size
        and the devices' memory make it (docs/running.md).
    """

    backbone: str
    sources: Sequence[str]
    targets: Sequence[str]
    stage1: Stage
    stage2: Stage
    methods: Sequence[str | Method] = ("prompt_tuning", "spot", "dtvg")
    ceiling: Stage | None = None
    method_settings: Sequence[Method] = ()
    search: Search | None = None
    prompts_from: Sequence[str] = ()
    mixture: str | None = None
    seeds: Sequence[Seed] = (42,)
    prompt_length: Count = 100
    inputs_length: Count | None = None
    targets_length: Count | None = None
    data_dir: str = "miniature"
    download: bool = False
    tasks_module: str = "tasks.all"
    label_style: Literal["digits", "words", "reference"] = "digits"
    shots: Count | None = None
    shot_rule: Literal["random_k", "balanced_k"] = "random_k"
    dtype: Literal["float32", "bfloat16"] = "float32"
    validation_rows: Count | None = None
    test_rows: Count | None = None
    evaluation_batch_size: Count = 32
    cache_dir: str = "~/.cache/dtvg_jax"
    config: Mapping[str, object] | None = None
    mesh: Mesh | None = None

    def __post_init__(self) -> None:
        self._check_stages()
        check_field_types(self)
        if self.ceiling is not None and self.dtype != "float32":
            raise InputError(
                f"dtype = {self.dtype!r}: all weights are tuned in float32; leave out "
                "ceiling or set dtype = 'float32'"
            )
        for name in ("sources", "targets", "seeds"):
            refuse_repeats(name, getattr(self, name))
        if not self.seeds or not (*self.sources, *self.targets):
            raise InputError("a job needs at least one seed and one source or target")
        self._check_tasks()
        self._check_methods()

    def resolved_methods(self) -> list[Method]:
        """Gives the methods of stage 2, those that are named with their settings."""
        return [methods.resolve(one, self.method_settings) for one in self.methods]

    def _check_stages(self) -> None:
        # Before the types of all fields: this sentence says what to write in gin.
        for name in ("stage1", "stage2", "ceiling"):
            stage = getattr(self, name)
            left_out = name == "ceiling" and stage is None
            if not left_out and not isinstance(stage, Stage):
                raise InputError(f"{name} must be a Stage: @{name}/stages.Stage()")

    def _check_tasks(self) -> None:
        # Sources that a store holds may be tasks that are not known here.
        learned = [*self.targets, *(() if self.prompts_from else self.sources)]
        for task in learned:
            catalogue.check_task(task, self.tasks_module)
        if self.mixture is not None:
            catalogue.check_mixture(self.mixture, self.tasks_module)

    def _check_methods(self) -> None:
        resolved = self.resolved_methods()
        refuse_repeats("methods", [one.full_name for one in resolved], VARIANT_HINT)
        for method in resolved:
            method.check(self.sources, self.seeds)
            if method.start == Start.MIXTURE and self.mixture is None:
                raise InputError(
                    f"{method.full_name} starts from the prompt of a mixture: set "
                    "mixture = 'dtvg_sources', say"
                )
        if self.search is not None:
            compared = [method.name for method in resolved if self.targets]
            self.search.check(compared, self.stage2)
