"""What models say about images that they are not made for."""

from common.config import require


def check_images(shape: tuple[int, ...], channels: int) -> None:
    """Raises UserError unless a shape is of images with the channels that a model is made for.

    Args:
      shape: of the images; sides and batch may be symbolic.
      channels: `in_channels` of the model.
    """
    *_, last = shape or (0,)
    fits = len(shape) == 4 and all(side > 0 for side in shape[1:])
    hint = f"; in_channels={last} makes a model for these" if fits and last != channels else ""
    require(
        fits and last == channels,
        f"images must be [batch, height, width, {channels}], got {list(shape)}{hint}",
    )
