"""Vectors of a classification job's images, training and evaluation set alike, to be probed."""

from collections.abc import Callable, Mapping
from typing import Any

from jax import Array
from jax.sharding import Mesh

import maxvit_jax
from common.data.sources import LabelledExample, Source
from common.kept_results import KeptResults
from common.progress import ProgressReport
from common.task import Batch, Dataset, Variables
from common.train.evaluate import EvalLoop
from maxvit_jax.data_defaults import fields_of_weights, fill_data_section
from maxvit_jax.embeddings import EmbeddingCollector, Embeddings
from maxvit_jax.inference import class_logits
from maxvit_jax.tasks.classification import ClassificationTask


class EmbeddingTask(ClassificationTask):
    """A classification job without its classifier, which turns images into vectors.

    Args:
      config: of a classification job.
      **sources: see `ClassificationTask`.
    """

    def __init__(self, config: Mapping[str, Any], **sources: Source):
        super().__init__(config, **sources)
        self.model = self.model.clone(num_classes=0)

    @classmethod
    def of_weights(
        cls, name: str, path: str, config: Any, asked: Mapping[str, Any] | None, options: Any = None
    ) -> tuple["EmbeddingTask", Variables]:
        """See `common.task.Task`: the data may have any classes, the file's head is left out."""
        given = asked or {}
        fields = fields_of_weights(name, path, given.get("data.image_size"))
        fields |= {n: value for n, value in config.model.items() if f"model.{n}" in given}
        model, variables = maxvit_jax.load_pretrained(name, path, **fields | {"num_classes": 0})
        if asked is not None:
            fill_data_section(config.data, name, path, asked, model.in_channels)
        section = {"name": name, "in_channels": model.in_channels}
        task = cls({**config.to_dict(), "model": section})
        task.model = model
        return task, variables

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """See `common.task.Task`: `embedding`, float32 `[batch, dimensions]`."""
        return {"embedding": class_logits(self.model, self.data, variables, batch["image"])}

    def eval_data(self) -> dict[str, Dataset]:
        """See `common.task.Task`: `train` and `eval`, both prepared without randomness."""
        (dataset,) = super().eval_data().values()
        sources = {"train": self.train_data().source, "eval": dataset.source}
        return {
            part: Dataset(_Numbered(source), dataset.transform) for part, source in sources.items()
        }

    def evaluators(self) -> list[EmbeddingCollector]:
        """See `common.task.Task`."""
        return [EmbeddingCollector()]

    def embeddings(
        self,
        variables: Variables,
        mesh: Mesh,
        datasets: Mapping[str, Dataset],
        kept: Callable[[str], KeptResults],
    ) -> dict[str, Embeddings]:
        """Returns the vectors of data sets; unreadable images are not among them.

        Args:
          variables: of the model.
          mesh: batches are split over it.
          datasets: of `eval_data`.
          kept: from the name of one to what an interruption left of its results.

        Raises:
          UserError: more than `data.max_corrupt` images are unreadable, or vectors not finite.
        """
        loop, found = EvalLoop(self, mesh, variables), {}
        for part, dataset in datasets.items():
            (collector,) = evaluators = self.evaluators()
            with ProgressReport(len(dataset.source), unit=f"{part} image") as progress:
                advance, results = progress.advance, kept(part)
                loop.run(variables, dataset, evaluators, advance, pictures=False, kept=results)
            found[part] = collector.collected(dataset.source)
        return found


class _Numbered:
    """A source whose examples know where they are: `position`."""

    def __init__(self, source: Source):
        self.class_names, self._source = source.class_names, source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> LabelledExample:
        return {**self._source[index], "position": int(index)}

    def name(self, index: int) -> str:
        return self._source.name(index)
