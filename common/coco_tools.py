"""pycocotools, which reads and writes compressed masks and defines COCO's average precision."""

import warnings
from types import ModuleType
from typing import Any

import numpy as np

from common.errors import UserError


def coco_tools() -> ModuleType:
    """Returns the package `pycocotools`, its modules `coco`, `cocoeval` and `mask` imported.

    Raises:
      UserError: it isn't installed.
    """
    try:
        import pycocotools.coco
        import pycocotools.cocoeval
        import pycocotools.mask
    except ImportError as error:
        message = (
            "COCO's metrics and masks need pycocotools: pip install 'multi-axis-jax[detection]'"
        )
        raise UserError(message) from error
    return pycocotools


def decoded_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Returns a mask as COCO's files have them, uint8 `[height, width]` of 0 and 1.

    Args:
      segmentation: a list of polygons, or run lengths as numbers or as a compressed string.
      height: of the image.
      width: of the image.

    Raises:
      UserError: pycocotools isn't installed.
    """
    mask = coco_tools().mask
    if isinstance(segmentation, list):
        segmentation = mask.merge(mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        segmentation = mask.frPyObjects(segmentation, height, width)
    with warnings.catch_warnings():  # it doesn't know NumPy 2's `copy` yet
        warnings.simplefilter("ignore", DeprecationWarning)
        return np.ascontiguousarray(mask.decode(segmentation))
