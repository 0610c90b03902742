"""RealBlur's measurement: align the restored image with the target, compare where both are.

The pairs of RealBlur (Rim et al. 2020) differ slightly in position and exposure. Their evaluation
script, which is followed here, scales the intensity, finds a homography by maximising the enhanced
correlation coefficient (ECC), warps, and leaves out pixels that came from outside.
"""

from typing import NamedTuple

import cv2
import numpy as np
from absl import logging

from common.metrics.psnr_ssim import ssim_map

_ITERATIONS = 100
_SMOOTHING = 5  # side of the Gaussian window that ECC smooths both images with


class Alignment(NamedTuple):
    """A restored image laid over its target.

    Attributes:
      image: float32 `[height, width, 3]` on the scale of what was aligned; 0 outside of `mask`.
      mask: bool `[height, width]`, true where `image` shows a part of the restored image.
      homography: float32 `[3, 3]`, from (x, y, 1) in the target to the restored image.
    """

    image: np.ndarray
    mask: np.ndarray
    homography: np.ndarray


def align(image: np.ndarray, target: np.ndarray) -> Alignment:
    """Finds and applies the intensity scale and homography that lay an image over its target.

    Args:
      image: RGB `[height, width, 3]`, uint8 or float.
      target: of the same shape and scale.

    Returns:
      The alignment. Where ECC finds none (an image of one colour, or nothing in common), that is
      logged and the image only scaled.
    """
    image, target = np.float32(image), np.float32(target)
    energy = np.sum(np.float64(image) ** 2)
    gain = np.sum(np.float64(image) * target) / energy if energy else 1.0
    image = np.float32(gain) * image
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _ITERATIONS, 0)
    identity = np.eye(3, dtype=np.float32)
    try:
        _, homography = cv2.findTransformECC(
            cv2.cvtColor(target, cv2.COLOR_RGB2GRAY),
            cv2.cvtColor(image, cv2.COLOR_RGB2GRAY),
            identity.copy(),
            cv2.MOTION_HOMOGRAPHY,
            criteria,
            None,
            _SMOOTHING,
        )
    except cv2.error:
        logging.warning("an image can't be aligned with its target: measured as it lies")
        homography = identity
    size = target.shape[1::-1]
    warped = cv2.warpPerspective(
        image,
        homography,
        size,
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    mask = cv2.warpPerspective(
        np.ones(image.shape[:2], np.uint8),
        homography,
        size,
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
    ).astype(bool)
    return Alignment(warped * mask[..., None], mask, homography)


def aligned_psnr_ssim(image: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Aligns, and measures PSNR and SSIM (11x11 Gaussian) over the common pixels.

    Args:
      image: RGB `[height, width, 3]` on the 0..255 scale.
      target: of the same shape.

    Returns:
      PSNR in dB, infinity for equal images; SSIM, NaN for an image smaller than 11x11.
    """
    aligned, mask, _ = align(image, target)
    target = np.where(mask[..., None], target, 0).astype(np.float64)
    error = np.sum((aligned - target) ** 2) / max(1, 3 * mask.sum())
    psnr = float(10 * np.log10(255**2 / error)) if error else float("inf")
    if min(mask.shape) < 11:
        return psnr, float("nan")
    inner = mask[5:-5, 5:-5]
    similarity = ssim_map(aligned, target)[inner].sum() / max(1, 3 * inner.sum())
    return psnr, float(similarity)
