"""Photos in, classes out: what `launch.predict` writes of a classifier."""

from typing import Any

import numpy as np

from common.demo.shown import Bar, Bars, Shown
from maxvit_jax.inference import Classifier


class ClassifiedPhotos:
    """A classifier as `common.predict.Predictor`.

    Args:
      classifier: of photos.
      top: classes per photo, the most probable ones.
    """

    writes_files = takes_videos = False

    def __init__(self, classifier: Classifier, top: int):
        self.batch_size = classifier.batch_size
        self.prepare, self.run = classifier.prepare, classifier.classify_prepared
        self._classifier, self._top = classifier, top

    def rows(self, result: np.ndarray) -> list[dict[str, Any]]:
        """See `common.predict.Predictor`: a row per class, the best first."""
        return [
            {"rank": rank, "class": p.index, "name": p.name, "probability": f"{p.probability:.6g}"}
            for rank, p in enumerate(self._classifier.best(result, self._top), start=1)
        ]

    def text(self, result: np.ndarray) -> str:
        """See `common.predict.Predictor`."""
        best = self._classifier.best(result, self._top)
        return ", ".join(
            f"{p.probability:.2%} {p.index}" + f" ({p.name})" * bool(p.name) for p in best
        )

    def shown(self, result: np.ndarray) -> list[Shown]:
        """See `common.predict.Predictor`: probabilities as bars."""
        best = self._classifier.best(result, self._top)
        bars = [Bar(p.name or f"class {p.index}", p.probability) for p in best]
        return [Bars("probability", bars)]
