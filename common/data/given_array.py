"""Arrays of what people have instead of one: lists, memory maps, tensors of other libraries."""

from typing import Any

import numpy as np

from common.errors import UserError


def given_array(image: Any, wanted: str) -> np.ndarray:
    """Returns numbers, in the machine's order of bytes.

    Args:
      image: what NumPy makes an array of, such as JAX's arrays.
      wanted: ends the message about something else, such as "give [height, width, 3]".

    Raises:
      UserError: it is something else.
    """
    what = f"a {type(image).__name__} is no image"
    try:
        array = np.asarray(image)
    except ValueError as error:  # lists of different lengths
        raise UserError(f"{what}: {wanted}") from error
    except Exception as error:  # tensors on other devices or of gradients, values under jit
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{what} ({why}): {wanted}") from error
    if array.dtype.name == "bfloat16":  # JAX's own, which is no number to NumPy
        return array.astype(np.float32)
    if array.dtype.kind not in "biufc":
        raise UserError(f"{what}: {wanted}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)
