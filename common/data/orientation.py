"""How a camera was held, by EXIF data, and turning an image upright."""

import numpy as np
from PIL import Image

_TAG = 0x0112


def orientation_of(image: Image.Image) -> int:
    """Returns the EXIF tag Orientation, 1 (upright) where there is none."""
    try:
        return image.getexif().get(_TAG, 1)
    except Exception:  # broken metadata doesn't make the pixels bad
        return 1


def orient(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes how the camera was held (EXIF 2.3, tag Orientation)."""
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.swapaxes(0, 1)
        case 6:
            return np.rot90(pixels, -1)
        case 7:
            return pixels[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(pixels)
    return pixels
