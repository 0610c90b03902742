"""Weights that are elsewhere, as paths on this machine: the Hub, the web, public buckets."""

import functools

from etils import epath

from common.errors import UserError
from common.weights import google_storage, hub
from common.weights.archive import ENDINGS, unpacked
from common.weights.download import fetch

_WEB = ("https://", "http://")
SCHEMES = (*hub.SCHEMES, *_WEB, google_storage.SCHEME)


def is_address(text: str) -> bool:
    """Whether weights are given by where they are to be had from."""
    return text.startswith(SCHEMES)


@functools.lru_cache(maxsize=64)  # sums of files are compared once per process
def local_path(address: str) -> epath.Path | None:
    """Returns the file, folder or prefix that an address stands for; the first time it is fetched.

    Args:
      address: `hf-hub:owner/name`, `https://...` (a file, or a `.tar.gz` with weights) or
        `gs://bucket/path` of a public bucket.

    Returns:
      None for what is read in place: a bucket that is not public, or a run in one.

    Raises:
      UserError: it can't be had, or is not what it was.
    """
    if address.startswith(hub.SCHEMES):
        return epath.Path(hub.hub_folder(address))
    if address.startswith(google_storage.SCHEME):
        place = google_storage.public_weights(address)
        return place and epath.Path(place)
    if not address.startswith(_WEB):
        raise UserError(f"{address}: expected an address that begins with {', '.join(SCHEMES)}")
    place = fetch(address)
    return epath.Path(unpacked(place) if place.name.endswith(ENDINGS) else place)
