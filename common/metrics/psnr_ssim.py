"""PSNR and SSIM (Wang et al. 2004) in the variants that restoration papers report.

Numbers of different variants can't be compared: they differ by channel (RGB, or one of several
lumas), by SSIM window and by rounding. All arithmetic is float64. Images are on the 0..255 scale,
`[height, width]` or `[height, width, channels]`, uint8 or float.
"""

from typing import Literal

import cv2
import numpy as np

Luma = Literal["bt601", "bt601_uint8", "jpeg"]
Window = Literal["gaussian", "volume", "uniform"]

_PEAK = 255.0
_BT601 = np.array([65.481, 128.553, 24.966]) / 255
_KERNELS = {
    "gaussian": cv2.getGaussianKernel(11, 1.5, cv2.CV_64F),
    "volume": cv2.getGaussianKernel(11, 1.5, cv2.CV_64F),
    "uniform": np.full((7, 1), 1 / 7),
}


def luma(image: np.ndarray, kind: Luma) -> np.ndarray:
    """Returns the Y channel of an RGB image.

    Args:
      image: `[height, width, 3]` on the 0..255 scale; uint8 for `"jpeg"`.
      kind: `"bt601"`, studio swing (16..235), not rounded, as BasicSR's; `"bt601_uint8"`, the same
        rounded to integers, as MATLAB's `rgb2ycbcr` of uint8 images; `"jpeg"`, full range (0..255)
        in integers, as OpenCV's YCrCb.

    Returns:
      `[height, width]`, float64 on the 0..255 scale.
    """
    if kind == "jpeg":
        return cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)[..., 0].astype(np.float64)
    y = np.asarray(image, np.float64) @ _BT601 + 16
    return np.floor(y + 0.5) if kind == "bt601_uint8" else y


def psnr(image: np.ndarray, target: np.ndarray, *, border: int = 0) -> float:
    """Returns the peak signal-to-noise ratio in dB, 10 log10(255² / mean squared error).

    Args:
      image: what is measured.
      target: of the same shape.
      border: pixels left out on every side.

    Returns:
      The error's mean is over all pixels and channels; infinity for equal images.

    Raises:
      ValueError: the shapes differ, or the border leaves nothing.
    """
    image, target = _inner(image, target, border)
    error = np.mean(np.square(image.astype(np.float64) - target))
    return float(10 * np.log10(_PEAK**2 / error)) if error else float("inf")


def ssim(
    image: np.ndarray, target: np.ndarray, *, window: Window = "gaussian", border: int = 0
) -> float:
    """Returns the mean structural similarity with K1 = 0.01, K2 = 0.03.

    Args:
      image: what is measured.
      target: of the same shape.
      window: `"gaussian"`: 11x11, sigma 1.5, where it lies inside the image, per channel, as the
        original and BasicSR. `"volume"`: the same along the channels too, at every pixel with
        borders repeated, as MATLAB's `ssim` of an RGB array. `"uniform"`: 7x7, sample covariance,
        where it lies inside the image, per channel, as scikit-image's default.
      border: pixels left out on every side.

    Returns:
      1 for equal images; NaN where no window lies inside.

    Raises:
      ValueError: the shapes differ, or the border leaves nothing.
    """
    image, target = _inner(image, target, border)
    if min(image.shape[:2]) < len(_KERNELS[window]) and window != "volume":
        return float("nan")
    if image.ndim == 2 or window == "volume":
        return float(ssim_map(image, target, window=window).mean())
    channels = zip(np.moveaxis(image, -1, 0), np.moveaxis(target, -1, 0), strict=True)
    return float(np.mean([ssim_map(*pair, window=window).mean() for pair in channels]))


def ssim_map(image: np.ndarray, target: np.ndarray, *, window: Window = "gaussian") -> np.ndarray:
    """Returns the structural similarity at every place of the window.

    Args:
      image: what is measured.
      target: of the same shape, not smaller than the window.
      window: see `ssim`.

    Returns:
      float64; each side shorter by the window's less one, but for `"volume"`.
    """
    a, b = image.astype(np.float64), target.astype(np.float64)
    mean_a, mean_b = _average(a, window), _average(b, window)
    product, squares = mean_a * mean_b, mean_a**2 + mean_b**2
    covariance = _average(a * b, window) - product
    variances = _average(a**2 + b**2, window) - squares
    if window == "uniform":
        positions = _KERNELS[window].size ** 2
        covariance *= positions / (positions - 1)
        variances *= positions / (positions - 1)
    c1, c2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
    return (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))


def _average(x: np.ndarray, window: Window) -> np.ndarray:
    kernel = _KERNELS[window]
    radius = len(kernel) // 2
    y = cv2.sepFilter2D(x, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    if window != "volume":
        return y[radius:-radius, radius:-radius]
    if x.ndim == 2:
        return y
    channels = x.shape[2]  # so few that a matrix does what a filter would
    mix = np.zeros((channels, channels))
    for k, weight in enumerate(kernel[:, 0]):
        sources = np.clip(np.arange(channels) + k - radius, 0, channels - 1)
        mix[sources, np.arange(channels)] += weight
    return y @ mix


def _inner(image: np.ndarray, target: np.ndarray, border: int) -> tuple[np.ndarray, np.ndarray]:
    if image.shape != target.shape:
        raise ValueError(f"images of shapes {image.shape} and {target.shape} can't be compared")
    if min(image.shape[:2]) <= 2 * border:
        raise ValueError(f"border={border} leaves nothing of an image of shape {image.shape}")
    inner = (slice(border, image.shape[0] - border), slice(border, image.shape[1] - border))
    return image[inner], target[inner]
