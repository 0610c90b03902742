"""How each restoration data set is measured: channels, rounding, SSIM window, alignment.

The rows follow the evaluation scripts that published tables of the data sets were made with, where
these are known; `notes` says where they are not. The official MAXIM script itself measures PSNR
only, of unclipped RGB: `official`.
"""

import dataclasses
from typing import Any, Literal

import numpy as np

from common.errors import UserError, did_you_mean
from common.metrics.psnr_ssim import Luma, Window, luma, psnr, ssim
from maxim_jax.alignment import aligned_psnr_ssim

Prediction = Literal["rounded", "truncated", "clipped", "unclipped"]

_PREDICTIONS = {
    "rounded": "clipped and rounded to 8 bits",
    "truncated": "clipped and truncated to 8 bits",
    "clipped": "clipped, not rounded",
    "unclipped": "neither clipped nor rounded",
}
_CHANNELS = {
    "rgb": "RGB",
    "bt601": "Y (BT.601, studio swing, not rounded)",
    "bt601_uint8": "Y (BT.601, studio swing, rounded to integers)",
    "jpeg": "Y (full range, integers)",
}
_WINDOWS = {
    "gaussian": "11x11 Gaussian window inside the image, per channel",
    "volume": "11x11x11 Gaussian window over RGB as a volume, borders repeated",
    "uniform": "7x7 uniform window inside the image, sample covariance",
}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a restored image is compared with its target; means are over images.

    Attributes:
      name: what the command line calls it.
      test_set: what it is for.
      channels: RGB, or a luma of `common.metrics.psnr_ssim`.
      prediction: what happens to the model's values before; targets are 8-bit.
      window: of SSIM.
      border: pixels left out on every side.
      aligned: after RealBlur's alignment, over common pixels (RGB, Gaussian window, no border).
      sets: parts, by folder name, whose means are averaged without weights.
      notes: what a reader of the numbers should know.
    """

    name: str
    test_set: str
    channels: Literal["rgb"] | Luma = "rgb"
    prediction: Prediction = "rounded"
    window: Window = "gaussian"
    border: int = 0
    aligned: bool = False
    sets: tuple[str, ...] = ()
    notes: str = ""

    def describe(self) -> dict[str, Any]:
        """Returns every choice in words."""
        return {
            "protocol": self.name,
            "test set": self.test_set,
            "channels": _CHANNELS[self.channels],
            "prediction": _PREDICTIONS[self.prediction],
            "PSNR": "10 log10(255^2 / mean squared error), per image",
            "SSIM": f"{_WINDOWS[self.window]}; K1 = 0.01, K2 = 0.03",
            "border left out": f"{self.border} pixels",
            "alignment": "intensity scale, ECC homography; common pixels"
            if self.aligned
            else "none",
            "notes": self.notes,
        }


_NO_SCRIPT = "No evaluation script documents the SSIM window."
_REALBLUR = {"aligned": True, "notes": "The official MAXIM script does not align."}

PROTOCOLS = {
    row.name: row
    for row in (
        Protocol("rgb", "any"),
        Protocol("y", "any", channels="bt601", notes="As BasicSR's Y-channel metrics."),
        Protocol(
            "official",
            "any",
            prediction="unclipped",
            notes="What the official MAXIM script prints as PSNR; it has no SSIM.",
        ),
        Protocol(
            "official_png",
            "any",
            prediction="truncated",
            notes="Of the PNG files that the official MAXIM script writes.",
        ),
        Protocol(
            "sidd", "1,280 validation blocks of 256x256", prediction="clipped", window="volume"
        ),
        Protocol("gopro", "1,111 images of 1280x720", window="volume"),
        Protocol(
            "hide",
            "2,025 images of 1280x720",
            window="volume",
            notes="Measured with the model trained on GoPro.",
        ),
        Protocol("reds", "300 validation images", notes=_NO_SCRIPT),
        Protocol("realblur_r", "980 images", **_REALBLUR),
        Protocol("realblur_j", "980 images", **_REALBLUR),
        Protocol(
            "rain13k",
            "Test100, Rain100H, Rain100L, Test2800, Test1200",
            channels="bt601_uint8",
            sets=("Test100", "Rain100H", "Rain100L", "Test2800", "Test1200"),
            notes="The published number is the mean of the means of the five sets.",
        ),
        Protocol("raindrop", "58 images (test A)", channels="jpeg", window="uniform"),
        Protocol("reside_indoor", "500 images (SOTS indoor)", notes=_NO_SCRIPT),
        Protocol("reside_outdoor", "500 images (SOTS outdoor)", notes=_NO_SCRIPT),
        Protocol("lol", "15 images", notes=_NO_SCRIPT),
        Protocol("fivek", "500 images, expert C", notes=_NO_SCRIPT),
    )
}

_SERVER_ONLY = {
    "dnd": "its targets are not public: restore the images with launch.restore and send them to"
    " the benchmark's server, https://noise.visinf.tu-darmstadt.de",
}


def get_protocol(name: str) -> Protocol:
    """Returns a row of PROTOCOLS.

    Raises:
      UserError: there is none of that name, or the data set can't be measured at home.
    """
    if name in _SERVER_ONLY:
        raise UserError(f"{name} can't be measured here: {_SERVER_ONLY[name]}")
    if name not in PROTOCOLS:
        raise UserError(f"unknown protocol {name!r}: {did_you_mean(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def measure(image: np.ndarray, target: np.ndarray, protocol: Protocol) -> dict[str, float]:
    """Measures one image.

    Args:
      image: RGB `[height, width, 3]`: float on the 0..1 scale, which it may exceed, or uint8, which
        is taken as it is.
      target: uint8, of the same shape.
      protocol: how.

    Returns:
      `psnr` in dB, infinity for equal images; `ssim`, NaN for images smaller than its window.

    Raises:
      UserError: values of the image are not finite.
    """
    image = picture(image, protocol.prediction)
    if protocol.aligned:
        values = aligned_psnr_ssim(image, target)
        return dict(zip(("psnr", "ssim"), values, strict=True))
    if protocol.channels != "rgb":
        image, target = luma(image, protocol.channels), luma(target, protocol.channels)
    return {
        "psnr": psnr(image, target, border=protocol.border),
        "ssim": ssim(image, target, window=protocol.window, border=protocol.border),
    }


def picture(image: np.ndarray, prediction: Prediction = "rounded") -> np.ndarray:
    """Brings an image on the 0..1 scale to 0..255.

    Args:
      image: float of any shape; uint8 comes back as it is.
      prediction: what happens to values out of range and between integers.

    Returns:
      uint8 for `"rounded"` and `"truncated"`, float32 otherwise.

    Raises:
      UserError: values are not finite.
    """
    if image.dtype == np.uint8:
        return image
    if not np.isfinite(image).all():
        raise UserError("the restored image is not finite: the model's weights can't be evaluated")
    image = np.float32(image) * 255
    if prediction != "unclipped":
        image = np.clip(image, 0, 255)
    match prediction:
        case "rounded":
            return np.rint(image).astype(np.uint8)
        case "truncated":
            return image.astype(np.uint8)
    return image
