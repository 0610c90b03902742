"""How large a photo is, told by the beginning of its file."""

from pathlib import Path

from PIL import Image

from common.data import images
from common.data.orientation import orientation_of

_ON_ITS_SIDE = range(5, 9)  # EXIF orientations


def photo_size(path: Path) -> tuple[int, int] | None:
    """Returns the height and width that a photo has the right way up; None if nothing tells."""
    images.quiet_pillow()
    try:
        with Image.open(path) as image:
            turned = orientation_of(image) in _ON_ITS_SIDE
            if turned and image.format != "TIFF":  # of which Pillow says how large it is upright
                return image.size
            return image.size[::-1]
    except Exception:  # whoever reads the photo says what is wrong with it
        return None
