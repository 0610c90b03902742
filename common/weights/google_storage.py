"""Weights in a public bucket of Google Cloud Storage, without an account.

A checkpoint of TensorFlow is several files: `gs://bucket/folder`, or `gs://bucket/folder/model.ckpt`
for those that begin so.
"""

import json
import posixpath
import re
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from common.config import require
from common.errors import UserError
from common.unfinished import write_bytes
from common.weights.download import (
    INSTEAD,
    Unreachable,
    cache_folder,
    fetch,
    fetch_bytes,
    place_of,
)

SCHEME = "gs://"
_HOST = "https://storage.googleapis.com"
_FOLDER_FILES = re.compile(r"config\.json|.*\.safetensors(\.index\.json)?")  # no TensorFlow there
_STATE = "checkpoint"  # where TensorFlow names the latest one of a folder


def public_weights(address: str) -> Path | None:
    """Returns a file, folder or TensorFlow prefix of a bucket as what it is on this machine.

    What it consists of is looked up once: later uses need no network.

    Args:
      address: `gs://bucket/path`.

    Returns:
      None where nobody may look without an account, or a run lies there.

    Raises:
      UserError: there is nothing, or it can't be had.
    """
    bucket, _, path = address.removeprefix(SCHEME).rstrip("/").partition("/")
    require(bool(bucket and path), f"{address} names no file: gs://bucket/path")
    known = _note(bucket, path)
    if known.exists():
        files, ending = json.loads(known.read_text())
    else:
        try:
            found = _files(address, bucket, path)
        except Unreachable as error:
            here = place_of(f"{_HOST}/{bucket}/{path}")
            if here.exists() or here.with_name(f"{here.name}.index").exists():  # put there by hand
                return here
            put = f"without a network put what lies there at {here}, or {INSTEAD}"
            raise UserError(f"can't look up {address}: {error}; {put}") from error
        if found is None:
            return None
        files, ending = found
    places = [fetch(f"{_HOST}/{bucket}/{urllib.parse.quote(name)}") for name in files]
    if not known.exists():
        write_bytes(known, json.dumps([files, ending]).encode())
    first = places[0]
    return first.parent if ending is None else first.with_name(first.name.removesuffix(ending))


def _files(address: str, bucket: str, path: str) -> tuple[list[str], str | None] | None:
    """Names of the files, and what to cut off the first one's; None: its folder is meant."""
    listing = _listed(address, bucket, path)
    if listing is None:
        return None
    names, folders = listing
    if path in names:
        return [path], ""
    if f"{path}.index" in names:
        return _checkpoint(path, names), ".index"
    require(f"{path}/" in folders, f"{address}: there is nothing in the bucket")
    names, folders = _listed(address, bucket, f"{path}/") or ([], [])
    if f"{path}/checkpoints/" in folders:  # a run of ours, which is read in place
        return None
    prefix = _latest(address, bucket, path, names)
    if prefix:
        return _checkpoint(prefix, names), ".index"
    files = [name for name in names if _FOLDER_FILES.fullmatch(posixpath.basename(name))]
    require(bool(files), f"{address}: no weights in this folder of the bucket; name a file")
    return files, None


def _latest(address: str, bucket: str, folder: str, names: Sequence[str]) -> str | None:
    """The TensorFlow checkpoint that a folder means, if it holds any."""
    found = [name.removesuffix(".index") for name in names if name.endswith(".index")]
    if len(found) > 1 and f"{folder}/{_STATE}" in names:
        state = fetch(f"{_HOST}/{bucket}/{urllib.parse.quote(folder)}/{_STATE}").read_text()
        latest = re.search(r'^model_checkpoint_path: "(?:.*/)?(.*)"', state, re.MULTILINE)
        found = [name for name in found if latest and posixpath.basename(name) == latest[1]]
    several = f"{address} holds {len(found)} checkpoints: give one, such as"
    require(len(found) < 2, f"{several} {SCHEME}{bucket}/{found[-1] if found else ''}")
    return found[0] if found else None


def _checkpoint(prefix: str, names: Sequence[str]) -> list[str]:
    """The files of a TensorFlow checkpoint, its index first."""
    data = re.compile(re.escape(prefix) + r"\.data-\d+-of-\d+")
    return [f"{prefix}.index", *(name for name in names if data.fullmatch(name))]


def _listed(address: str, bucket: str, prefix: str) -> tuple[list[str], list[str]] | None:
    """Objects and folders whose names begin so; None if one may not look."""
    query = {"prefix": prefix, "delimiter": "/", "fields": "items(name),prefixes,nextPageToken"}
    url = f"{_HOST}/storage/v1/b/{urllib.parse.quote(bucket)}/o?{urllib.parse.urlencode(query)}"
    answer = fetch_bytes(url)
    if answer is None:
        return None
    try:
        listing = json.loads(answer)
        names = [str(item["name"]) for item in listing.get("items", ())]
        folders = [str(name) for name in listing.get("prefixes", ())]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{address}: what {_HOST} answers is no listing") from error
    require("nextPageToken" not in listing, f"{address} begins the names of many files: name one")
    return names, folders


def _note(bucket: str, path: str) -> Path:
    """Where the result of a look-up is kept."""
    parts = (part for part in (bucket, *path.split("/")) if part.strip("."))
    folder = cache_folder().joinpath("gs", *(re.sub(r"[^\w.+-]", "_", part) for part in parts))
    return folder.with_name(f"{folder.name}.files.json")
