"""Weights packed as `.tar.gz`: unpacked beside the archive, once."""

import re
import shutil
import tarfile
import zlib
from pathlib import Path

from etils import epath

from common.config import require
from common.errors import UserError
from common.unfinished import scratch_folder
from common.weights.download import MOST_BYTES

ENDINGS = (".tar.gz", ".tgz")
_WANTED = re.compile(r"checkpoint|[^.].*\.(index|data-\d+-of-\d+|npz|safetensors|json|pth|pt)")


def unpacked(archive: Path) -> Path:
    """Returns a folder with the weights of an archive: a single file of them, or that folder.

    Only files of weights are written, under their names without folders; links and all else that an
    archive may hold is passed over.

    Args:
      archive: a `.tar.gz` file; the folder is made where it lies.

    Raises:
      UserError: it is damaged, too large, or holds no weights or two files of one name.
    """
    folder = archive.with_name(f"{archive.name}.unpacked")
    if not folder.exists():
        with scratch_folder(folder, wait=True) as scratch:
            if not folder.exists():  # while another process was at it
                _unpack(archive, scratch)
                scratch.rename(folder)
    files = list(folder.iterdir())
    return files[0] if len(files) == 1 else folder


def _unpack(archive: Path, folder: epath.Path) -> None:
    size = 0
    try:
        with tarfile.open(archive, "r|gz") as tar:  # a stream: one pass, whatever it holds
            for member in tar:
                size += member.size
                too_large = f"{archive} holds more than {MOST_BYTES:,} bytes: it is not unpacked"
                require(size <= MOST_BYTES, too_large)
                name = member.name.rpartition("/")[2]
                if not member.isfile() or not _WANTED.fullmatch(name):
                    continue
                twice = f"{archive} holds two files called {name}: unpack it and give one's path"
                require(not (folder / name).exists(), twice)
                with tar.extractfile(member) as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(f"{archive} is a damaged archive, get it again ({error})") from error
    except OSError as error:  # gzip's own is one without a number
        if error.errno is not None:
            raise
        raise UserError(f"{archive} is a damaged archive, get it again ({error})") from error
    require(any(folder.iterdir()), f"{archive} holds no weights")
