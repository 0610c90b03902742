"""IPTC records of a photo: captions, credits and keywords of the press (IIM 4.2).

JPEG files have them within Photoshop's block of resources, TIFF files in a tag or in such a block
(Adobe, Photoshop File Formats Specification, "Image Resource Blocks").
"""

from collections.abc import Iterator

from PIL import Image

IPTC_TAG, PHOTOSHOP_TAG = 33723, 34377
LARGEST_IN_JPEG = 65_000  # bytes: a segment has 65,533 with what stands around them
_IPTC = 0x0404
_NO_LOSS = {  # kept apart, or of the pixels as they were
    *(0x03ED, 0x0409, 0x040C, 0x040F),  # resolution, thumbnails, ICC profile
    *(0x0422, 0x0423, 0x0424, 0x0425),  # EXIF, XMP, a sum of the IPTC records
}
_MARK, _RESOURCE = b"Photoshop 3.0\0", b"8BIM"


def read_iptc(image: Image.Image | None) -> tuple[bytes, list[str]]:
    """Returns IPTC records, and in words what Photoshop's block has besides.

    Args:
      image: as Pillow opened it; None if it could not.
    """
    if image is None:
        return b"", []
    # As bytes, whatever type a file calls them: of numbers Pillow gives the first alone.
    tags = image.tag_v2._tagdata if image.format == "TIFF" else {}
    resources = dict(_resources(tags.get(PHOTOSHOP_TAG, b""))) | image.info.get("photoshop", {})
    records = tags.get(IPTC_TAG) or resources.get(_IPTC, b"")
    has_others = bool(resources.keys() - _NO_LOSS - {_IPTC})
    return records, ["Photoshop's data"] * has_others


def jpeg_segment(records: bytes) -> bytes:
    """Returns the segment of a JPEG file (APP13) that has IPTC records."""
    name, padding = b"\0\0", b"\0" * (len(records) % 2)  # both are of an even length
    size = len(records).to_bytes(4)
    content = _MARK + _RESOURCE + _IPTC.to_bytes(2) + name + size + records + padding
    return b"\xff\xed" + (2 + len(content)).to_bytes(2) + content


def _resources(block: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while block[at : at + 4] == _RESOURCE and at + 7 <= len(block):
        number, name_length = int.from_bytes(block[at + 4 : at + 6]), block[at + 6]
        at += 6 + (name_length + 2) // 2 * 2
        size = int.from_bytes(block[at : at + 4])
        yield number, block[at + 4 : at + 4 + size]
        at += 4 + size + size % 2
