"""A photo in, its classes and what speaks for the first one out: what `launch.demo` shows."""

from collections.abc import Mapping

from common.demo.demos import Upload
from common.demo.shown import File, Line, Shown
from common.pictures import encoded
from maxvit_jax.classified_photos import ClassifiedPhotos
from maxvit_jax.explained_photos import ExplainedPhotos, ExplainOptions
from maxvit_jax.photo_options import LoadedClassifier


class ClassifierDemo:
    """A classifier as `common.demo.demos.Demo`: what `launch.predict` and `launch.explain` give.

    Args:
      loaded: the classifier.
      top: classes per photo, the most probable ones.
    """

    takes_photo = True
    settings = ()

    def __init__(self, loaded: LoadedClassifier, top: int):
        self._explained = ExplainedPhotos(loaded, ExplainOptions())
        self._photos = ClassifiedPhotos(self._explained.classifier, top)

    def __call__(self, photo: Upload | None, settings: Mapping[str, float | None]) -> list[Shown]:
        """See `common.demo.demos.Demo`: probabilities, and Grad-CAM of the predicted class."""
        prepared = self._photos.prepare(photo.content)
        (result,) = self._photos.run([prepared])
        picture = self._explained.explain(photo.name, prepared, result).picture
        evidence = File(f"{photo.stem}.grad_cam.png", encoded(picture))
        return [Line(self._photos.text(result)), *self._photos.shown(result), evidence]
