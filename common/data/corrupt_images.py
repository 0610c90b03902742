"""What is raised for image files that can't be read."""

from PIL import UnidentifiedImageError


class CorruptImage(ValueError):
    """An image file that can't be read; the message says why, the pipeline adds which file."""


def corrupt_image(error: Exception) -> CorruptImage:
    """Returns what to raise for whatever a decoder raised."""
    if isinstance(error, CorruptImage):
        return error
    if isinstance(error, UnidentifiedImageError):  # its text names a buffer's address
        return CorruptImage("not an image of a known format")
    return CorruptImage(f"{type(error).__name__}: {error}")
