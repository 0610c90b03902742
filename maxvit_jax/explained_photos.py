"""Photos in, pictures of what a classifier looks at out: what `launch.explain` makes of them."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from common.config import require
from common.data.images import decode
from common.data.preprocess import normalize
from common.errors import did_you_mean
from common.explanation import Explanation
from common.heat_maps import (
    enlarged,
    heat_colors,
    heat_figure,
    heat_map,
    heat_overlay,
    marked,
    relative,
)
from common.task import option
from maxvit_jax.attention_maps import attentions, layouts_of, rollout
from maxvit_jax.explain import grad_cam, receptive_field
from maxvit_jax.inference import Classifier
from maxvit_jax.photo_options import LoadedClassifier, PhotoOptions

METHODS = ("grad_cam", "attention", "rollout", "receptive_field")
SIDE = 320  # of a picture
HEAD_SIDE = 160  # of a picture where there is one per head


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainOptions(PhotoOptions):
    """What `launch.explain` takes for a classifier."""

    method: str = option("grad_cam", f"What is shown: {', '.join(METHODS)}.")
    stage: int | None = option(None, "Stage of the model, from 1; the last one unless given.")
    target_class: str | None = option(
        None, "Class that Grad-CAM explains, by name or number; the predicted one unless given."
    )
    position: str | None = option(
        None,
        "Whose attention or receptive field is shown: shares of width and height of what the model"
        " sees, such as 0.5,0.5, the centre. A rollout without it is that of all positions.",
    )

    def __post_init__(self):
        super().__post_init__()
        known = self.method in METHODS
        require(known, f"--method={self.method}: {did_you_mean(self.method, METHODS)}")
        uses = {"target_class": METHODS[:1], "position": METHODS[1:]}
        for name, methods in uses.items():
            idle = f"--{name} does not apply to {self.method}, only to {', '.join(methods)}"
            require(getattr(self, name) is None or self.method in methods, idle)

    def pixel(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """Returns row and column of the position in images of a size; None if it is not given.

        Raises:
          UserError: a position that is no two shares.
        """
        if self.position is None:
            return None
        try:
            x, y = map(float, self.position.split(","))
        except ValueError:
            x = y = -1.0
        inside = 0 <= x <= 1 and 0 <= y <= 1
        wanted = "two numbers from 0 to 1, right and down, such as 0.5,0.5"
        require(inside, f"--position={self.position}: {wanted}")
        height, width = size
        return min(int(y * height), height - 1), min(int(x * width), width - 1)


class _Photo(NamedTuple):
    """A photo as the model sees it.

    Attributes:
      name: of the photo.
      title: the class in question and its probability.
      target: that class.
      images: `[1, height, width, channels]`, normalised.
      shown: uint8 `[height, width, 3]`.
      pixel: row and column of the position asked for; None if there is none.
    """

    name: str
    title: str
    target: int
    images: np.ndarray
    shown: np.ndarray
    pixel: tuple[int, int] | None


class _Drawn(NamedTuple):
    """Pictures in rows, with captions, and what the ends of their colour scale mean."""

    rows: Sequence[Sequence[np.ndarray]]
    captions: Sequence[Sequence[str]]
    ends: tuple[str, str]
    side: int = SIDE


class ExplainedPhotos:
    """A classifier as `common.explanation.Explainer`.

    Args:
      loaded: the classifier.
      options: of the command line.

    Attributes:
      classifier: of one photo at a time.

    Raises:
      UserError: the model lacks the stage, the class, or the attention.
    """

    def __init__(self, loaded: LoadedClassifier, options: ExplainOptions):
        loaded = loaded._replace(variables=jax.device_put(loaded.variables))  # once for all uses
        self._model, self._variables, self._data, _ = loaded
        self.classifier = Classifier(*loaded, batch_size=1)
        draw = (self._grad_cam, self._attention, self._rollout, self._receptive_field)
        self._draw = dict(zip(METHODS, draw, strict=True))[options.method]
        self._method = options.method
        last = len(self._model.depths)
        stage = last if options.stage is None else options.stage
        require(1 <= stage <= last, f"--stage={stage}: the model has stages 1 to {last}")
        self._stage = f"stage_{stage}"
        if options.method in ("attention", "rollout"):
            layouts_of(self._model, self._stage)
        options.pixel((1, 1))  # refused at once if it is none
        self._pixel = options.pixel
        self._target = None
        if options.target_class is not None:
            self._target = self._class_of(options.target_class)

    def __call__(self, name: str, photo: bytes) -> Explanation:
        """See `common.explanation.Explainer`."""
        prepared = self.classifier.prepare(photo)
        return self.explain(name, prepared, self.classifier.classify_prepared([prepared])[0])

    def explain(self, name: str, prepared: np.ndarray, probabilities: np.ndarray) -> Explanation:
        """Looks at a photo that has been classified.

        Args:
          name: of the photo, for captions.
          prepared: what `classifier.prepare` made of it.
          probabilities: its classes', `[classes]`.
        """
        target = int(probabilities.argmax()) if self._target is None else self._target
        names, probability = self.classifier.class_names, float(probabilities[target])
        called = names[target] if names else None
        title = f"{called or f'class {target}'}, {probability:.1%}"

        shown = decode(np.rint(np.clip(prepared, 0, 255)).astype(np.uint8))
        images = normalize(prepared[None], self._data.mean, self._data.std)
        pixel = self._pixel(shown.shape[:2])
        drawn = self._draw(_Photo(name, title, target, images, shown, pixel))
        row = {
            "class": target,
            "name": called,
            "probability": f"{probability:.6g}",
            "method": self._method,
            "stage": self._stage,
        }
        picture = heat_figure(drawn.rows, drawn.captions, drawn.ends, side=drawn.side)
        return Explanation(f"{title}; {self._method} of {self._stage}", row, picture)

    def _class_of(self, text: str) -> int:
        names, count = self.classifier.class_names, self.classifier.num_classes
        if names and text in names:
            return list(names).index(text)
        hint = did_you_mean(text, names) if names else f"numbers are 0 to {count - 1}"
        known = text.isascii() and text.isdigit() and int(text) < count
        require(known, f"--target_class={text}: {hint}")
        return int(text)

    # ---------------------------------------------------------------- methods

    def _grad_cam(self, photo: _Photo) -> _Drawn:
        heat = grad_cam(self._model, self._variables, photo.images, [photo.target], self._stage)
        heat = np.asarray(heat)[0]
        how = f"Grad-CAM, {self._stage}, {heat.shape[0]}x{heat.shape[1]}"
        pictures = [enlarged(photo.shown, SIDE), *_spread(photo.shown, heat, smooth=True)]
        captions = [f"{photo.name}: {photo.title}", how, "over the photo"]
        return _Drawn([pictures], [captions], ("no evidence", "most evidence"))

    def _attention(self, photo: _Photo) -> _Drawn:
        pixel, rows, captions = photo.pixel or _center(photo.shown), [], []
        large = _pointed(photo.shown, pixel, HEAD_SIDE)
        for attention in attentions(self._model, self._variables, photo.images, self._stage):
            shares = np.asarray(attention.shares(pixel))[0]
            block = attention.name.removeprefix(f"{self._stage}_")
            parts = {f"{block}, mean": shares.mean(0)}
            parts |= {f"head {i}": head for i, head in enumerate(shares)}
            captions.append([photo.name, *(f"{n}: {part.max():.2f}" for n, part in parts.items())])
            heat = (heat_colors(relative(part)) for part in parts.values())
            rows.append([large, *(enlarged(picture, HEAD_SIDE) for picture in heat)])
        return _Drawn(rows, captions, ("0", "largest share, given below each"), HEAD_SIDE)

    def _rollout(self, photo: _Photo) -> _Drawn:
        found = attentions(self._model, self._variables, photo.images, self._stage)
        shares, shown = np.asarray(rollout(found, photo.pixel))[0], photo.shown
        whose, large = "all positions", enlarged(shown, SIDE)
        if photo.pixel is not None:
            whose, large = "the marked position", _pointed(shown, photo.pixel, SIDE)
        how = f"rollout of {whose}, {self._stage}, {len(found)} attentions"
        pictures = [large, *_spread(shown, shares, smooth=False)]
        largest = f"{shares.max():.2%} of the whole (evenly it were {1 / shares.size:.2%})"
        return _Drawn([pictures], [[photo.name, how, "over the photo"]], ("0", largest))

    def _receptive_field(self, photo: _Photo) -> _Drawn:
        pixel, shown = photo.pixel or _center(photo.shown), photo.shown
        found = receptive_field(self._model, self._variables, photo.images, pixel, self._stage)
        heat = heat_colors(np.sqrt(relative(np.asarray(found)[0])))
        captions = [photo.name, f"receptive field of the marked position, {self._stage}"]
        pictures = [_pointed(shown, pixel, SIDE), enlarged(heat, SIDE)]
        return _Drawn([pictures], [captions], ("0", "largest gradient (square roots are shown)"))


def _center(image: np.ndarray) -> tuple[int, int]:
    return image.shape[0] // 2, image.shape[1] // 2


def _pointed(image: np.ndarray, pixel: tuple[int, int], side: int) -> np.ndarray:
    """A photo of that side or more, with a cross over a pixel."""
    large = enlarged(image, side)
    factor = len(large) // len(image)
    return marked(large, tuple(place * factor + factor // 2 for place in pixel))


def _spread(image: np.ndarray, values: np.ndarray, *, smooth: bool) -> list[np.ndarray]:
    """Values by themselves and over the photo, from 0 to the largest."""
    large, values = enlarged(image, SIDE), relative(values)
    return [
        heat_map(values, large.shape[:2], smooth=smooth),
        heat_overlay(large, values, smooth=smooth),
    ]
