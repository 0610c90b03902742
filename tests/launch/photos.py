"""Photos as users have them: two of one name, one in a folder, one turned, one broken."""

from PIL import Image

_ORIENTATION, _TURNED = 0x0112, 6


def write_photos(folder, upright, turned):
    """Writes `a.png`, `a.jpg`, `inner/b.png`, `turned.jpg` and `broken.png`.

    Args:
      folder: new.
      upright: uint8 `[height, width, 3]`, of the three photos.
      turned: the same, of the photo that a viewer turns.
    """
    (folder / "inner").mkdir(parents=True)
    for name in ("a.png", "a.jpg", "inner/b.png"):
        Image.fromarray(upright).save(folder / name)
    picture = Image.fromarray(turned)
    exif = picture.getexif()
    exif[_ORIENTATION] = _TURNED
    picture.save(folder / "turned.jpg", exif=exif)
    (folder / "broken.png").write_bytes(b"no image")
