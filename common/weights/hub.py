"""Folders of weights on the Hugging Face Hub, through its own library and cache."""

import re
from pathlib import Path

from common.config import require
from common.errors import UserError
from common.weights.hub_folder import CONFIG, SHARDS, WEIGHTS
from common.weights.safetensors_files import shard_names

SCHEMES = ("hf-hub:", "hf_hub:")  # timm knows both
_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


class _Offline(UserError):
    """A file is not in the cache, and the Hub not asked or out of reach."""


def hub_folder(address: str) -> Path:
    """Returns a folder of the Hub as one on this machine: its config, and weights.

    One that was fetched stays as it is, whatever becomes of it on the Hub.

    Args:
      address: `hf-hub:owner/name`, or `hf-hub:owner/name@revision`.

    Raises:
      UserError: it can't be had, or holds no weights.
    """
    scheme, _, place = address.partition(":")
    name, _, revision = place.partition("@")
    require(bool(_ID.fullmatch(name)), f"{address}: expected {scheme}:owner/name")
    try:
        return _folder(address, name, revision or None, cached=True)
    except _Offline:
        return _folder(address, name, revision or None, cached=False)


def _folder(address: str, name: str, revision: str | None, *, cached: bool) -> Path:
    config = _file(name, CONFIG, revision, cached)
    require(config is not None, f"{address} has no {CONFIG}, which says what its weights are")
    commit, offline = config.parent.name, None  # what follows is of the same state of the folder
    for file in WEIGHTS:
        try:
            found = _file(name, file, commit, cached)
        except _Offline as error:
            found, offline = None, error
        if found:
            for part in shard_names(found) if file == SHARDS else ():
                there = _file(name, part, commit, cached) is not None
                require(there, f"{address} lacks {part}, which its {SHARDS} names")
            return config.parent
    raise offline or UserError(f"{address} holds no weights: none of {', '.join(WEIGHTS)}")


def _file(name: str, file: str, revision: str | None, cached: bool) -> Path | None:
    """One file of a folder, out of the cache or downloaded; None if the folder hasn't got it."""
    url = f"https://huggingface.co/{name}"
    try:
        from huggingface_hub import errors, hf_hub_download
    except ImportError as error:
        raise UserError(f"{url} needs huggingface_hub: pip install huggingface_hub") from error
    try:
        return Path(hf_hub_download(name, file, revision=revision, local_files_only=cached))
    except errors.LocalEntryNotFoundError as error:
        raise _Offline(
            f"can't download {file} of {url}: no connection to it, and it is not in the cache of"
            f" the Hub; where there is one, get the folder (hf download {name}) and give its path"
            " (--weights, config.init.weights, load_pretrained's path)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{url} has no revision {revision}") from error
    except errors.GatedRepoError as error:
        raise UserError(f"{url} is for accounts that asked for it: hf auth login") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(f"there is no {url}, or it is private: hf auth login") from error
    except errors.EntryNotFoundError:
        return None
    except Exception as error:  # of the transport, which is one of several, or the disk
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"can't download {file} of {url}: {reason}") from error
