"""Files from the web: fetched once, whole, and compared with what was fetched at every later use.

A file lies under its address in the cache folder, beside its SHA-256. What a broken connection
leaves goes on from there the next time.
"""

import contextlib
import fcntl
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from common.config import require
from common.errors import UserError
from common.progress import ProgressReport
from common.unfinished import write_bytes

CACHE_VARIABLE = "MULTI_AXIS_JAX_CACHE"
MOST_BYTES = 16 << 30  # the largest published checkpoint, with its optimizer's slots, has half
_CHUNK = 1 << 20
_SECONDS_BETWEEN_LINES = 10
_TIMEOUT = 30  # seconds without a byte
_TRIES = 4  # connections in a row that bring nothing new
_PAUSE = 1.0  # seconds before the second try, twice as many before the next
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_BUSY = (429, 500, 502, 503, 504)
INSTEAD = (
    "give the path of weights on this machine (--weights, config.init.weights, load_pretrained's"
    " path)"
)


def cache_folder() -> Path:
    """Returns where downloads lie: `$MULTI_AXIS_JAX_CACHE` or `~/.cache/multi-axis-jax/weights`."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path.home() / ".cache" / "multi-axis-jax" / "weights"


def fetch(url: str) -> Path:
    """Returns a file from the web as one on this machine; the first time it is downloaded.

    Args:
      url: `https://...`; with `#sha256=<64 digits>` at its end nothing else is taken. `http://` is
        for this machine alone.

    Raises:
      UserError: it can't be had, or is not what it was.
    """
    url, _, fragment = url.partition("#")
    wanted = fragment.removeprefix("sha256=").lower()
    hint = f"{url}: what follows # is sha256= and 64 digits, or nothing"
    require(not fragment or bool(re.fullmatch("[0-9a-f]{64}", wanted)), hint)
    _require_safe(url, url)
    place = place_of(url)
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place):
            if not place.exists():  # while another process was at it
                _download(url, place)
    _check(url, place, wanted)
    return place


class Unreachable(UserError):
    """A server gives no answer, or none that helps."""


def fetch_bytes(url: str, most_bytes: int = 8 << 20) -> bytes | None:
    """Returns a small answer of a web service, of which nothing is kept; None: it is not public.

    Raises:
      Unreachable: it can't be had; the message is the reason.
      UserError: it is too long.
    """
    _require_safe(url, url)
    try:
        with _open(url, {}) as answer:
            data = answer.read(most_bytes + 1)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
            if error.code in (401, 403):
                return None
        raise Unreachable(_reason(error)) from error
    require(len(data) <= most_bytes, f"{url} answers with more than {most_bytes:,} bytes")
    return data


def place_of(url: str) -> Path:
    """Returns where a file lies: its address as folders, none of which leads out of the cache."""
    parts = urllib.parse.urlsplit(url)
    path = [p for p in urllib.parse.unquote(parts.path).split("/") if p.strip(".")]
    require(bool(path), f"{url} names no file")
    if parts.query:  # addresses that differ in it alone are different files
        path.insert(-1, hashlib.sha256(parts.query.encode()).hexdigest()[:12])
    names = [re.sub(r"[^\w.+-]", "_", name)[:200] for name in (parts.netloc, *path)]
    return cache_folder().joinpath(*names)


def _download(url: str, place: Path) -> None:
    """Downloads to a temporary name, in as many connections as it takes, and renames."""
    part, best, failed, pause = _beside(place, ".part"), 0, 0, _PAUSE
    while True:
        try:
            if _receive(url, part, place):
                break
            reason = "the connection broke off"
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # nothing follows what is here: it is of another file
                part.unlink(missing_ok=True)
            elif error.code not in _BUSY:
                raise UserError(_cant(url, place, _reason(error))) from error
            reason = _reason(error)
        except urllib.error.URLError as error:
            if not isinstance(error.reason, TimeoutError | ConnectionResetError):
                raise UserError(_cant(url, place, _reason(error))) from error
            reason = _reason(error)
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            reason = _reason(error)
        has = part.stat().st_size if part.exists() else 0
        failed, best = (0, has) if has > best else (failed + 1, best)
        if failed == _TRIES:
            kept = f"; the {has:,} bytes that came are kept, and the next try goes on with them"
            raise UserError(_cant(url, place, reason) + kept * bool(has))
        if failed:
            time.sleep(pause)
            pause *= 2
    part.replace(place)
    _beside(place, ".part.version").unlink(missing_ok=True)


def _receive(url: str, part: Path, place: Path) -> bool:
    """Receives a file, or what is missing of it, by one connection; returns whether it is whole."""
    version = _beside(place, ".part.version")  # of the file that a part is of
    start = part.stat().st_size if part.exists() and version.exists() else 0
    headers = {}
    if start:
        headers = {"Range": f"bytes={start}-", "If-Range": version.read_text()}
    with _open(url, headers) as answer:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        if answer.status == 206 and span and int(span[1]) == start:
            total = int(span[2])
        else:
            require(answer.status == 200, _cant(url, place, f"it answers {answer.status}"))
            page = answer.headers.get_content_type() == "text/html"
            require(not page, _cant(url, place, "a web page comes instead of it"))
            start = 0
            _note_version(version, answer.headers)
        _require_room(url, part, total or 0, start)
        with part.open("ab" if start else "wb") as file:
            return _copy(url, answer, file, place, start, total)


def _copy(
    url: str, answer: IO[bytes], file: IO[bytes], place: Path, start: int, total: int | None
) -> bool:
    done, shown = start, time.monotonic()
    began = shown
    with ProgressReport((total or 0) // 10**6, start // 10**6, unit="MB") as progress:
        size = f"{total:,} bytes" if total else "of unknown size"
        going_on = f", going on after {start:,}" if start else ""
        progress.log(f"downloading {url} ({size}{going_on}) to {place}")
        while chunk := answer.read(_CHUNK):
            done += len(chunk)
            require(done <= MOST_BYTES, _too_large(url, done))
            file.write(chunk)
            progress.advance(done // 10**6)
            now = time.monotonic()
            if now - shown > _SECONDS_BETWEEN_LINES:
                progress.metrics(done // 10**6, {"MB/s": (done - start) / 1e6 / (now - began)})
                shown = now
    return total is None or done == total


def _note_version(path: Path, headers: Any) -> None:
    """Keeps what tells whether the file is still the same when the rest is asked for."""
    tag = headers.get("ETag", "")
    version = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")
    if version:
        path.write_text(version)
    else:  # it can't be told: such a file is downloaded in one go
        path.unlink(missing_ok=True)


def _require_room(url: str, part: Path, total: int, start: int) -> None:
    require(total <= MOST_BYTES, _too_large(url, total))
    free = shutil.disk_usage(part.parent).free
    wanted = f"{url} has {total:,} bytes, and the disk of {part.parent} {free:,} free"
    require(total - start <= free, f"{wanted}: make room, or set {CACHE_VARIABLE}")


def _check(url: str, place: Path, wanted: str) -> None:
    """Compares a file with its sum; one that has none, such as one put there by hand, gets it."""
    with place.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    known = place.with_name(f"{place.name}.sha256")
    if not known.exists():
        if not wanted or found == wanted:
            write_bytes(known, f"{found}  {place.name}\n".encode())
    elif known.read_text().split()[:1] != [found]:
        again = f"remove both, and it is downloaded again from {url}"
        raise UserError(f"{place} is not what was downloaded, by the sum in {known.name}: {again}")
    matches = not wanted or found == wanted
    require(matches, f"{place} from {url} has SHA-256 {found}, not {wanted}: it is another file")


def _open(url: str, headers: dict[str, str]) -> Any:
    request = urllib.request.Request(url, headers={"User-Agent": "multi-axis-jax"} | headers)
    handlers: list[Any] = [_SafeRedirects(url)]
    if urllib.parse.urlsplit(url).hostname in _LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers).open(request, timeout=_TIMEOUT)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, url: str):
        self._url = url

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        try:
            _require_safe(newurl, self._url)
        except UserError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_safe(url: str, asked: str) -> None:
    """Only https, or from this machine: what is asked for, and where that leads to."""
    try:
        parts, first = urllib.parse.urlsplit(url), urllib.parse.urlsplit(asked)
    except ValueError as error:
        raise UserError(f"{asked} is no address: {error}") from None
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    safe = parts.scheme == "https" or (local and first.hostname in _LOOPBACK)
    led = f"{asked} leads to {url}" if url != asked else url
    require(safe and bool(parts.hostname), f"{led}: only https:// is fetched")


def _reason(error: BaseException) -> str:
    """One line."""
    if isinstance(error, urllib.error.HTTPError):
        known = {401: "it is not public", 403: "it is not public", 404: "there is no such file"}
        return f"{known.get(error.code, 'the server refuses')} ({error.code} {error.reason})"
    if isinstance(error, urllib.error.URLError):
        error = error.reason if isinstance(error.reason, BaseException) else error
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text if isinstance(error, http.client.HTTPException) else f"no connection ({text})"


def _cant(url: str, place: Path, reason: str) -> str:
    return (
        f"can't download {url}: {reason}; without a network put the file at {place}, or {INSTEAD}"
    )


def _too_large(url: str, size: int) -> str:
    return f"{url} has {size:,} bytes or more, and weights at most {MOST_BYTES:,}: it is not taken"


def _beside(place: Path, ending: str) -> Path:
    return place.with_name(f".{place.name}{ending}")


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Of several processes on a machine one downloads, and the others wait."""
    with _beside(place, ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
