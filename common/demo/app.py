"""The web application behind `launch.demo`: one page, and one request that runs a demo.

Nothing is fetched from anywhere else, which the page's security policy makes sure of. Photos are
held in memory for as long as they are looked at, and are never written.
"""

import contextlib
import io
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from absl import logging
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.wrappers import Request, Response

from common.config import require
from common.data.crops import image_size
from common.data.images import CorruptImage
from common.demo.demos import Demo, Upload
from common.errors import UserError
from common.video import FORMATS

_WAITING = 8  # requests that may hold a photo at once: one runs
_FORM_BYTES = 100_000  # of a request, beside the photo
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}


class _Request(Request):
    def _get_file_stream(self, *_: Any, **__: Any) -> io.BytesIO:
        return io.BytesIO()  # not in a file, as of large ones by default


class DemoApp:
    """A WSGI application: the page, `/demos` (what is on it), and `/run` (a demo's results).

    Args:
      demos: by the title of their tab.
      most_bytes: of a photo's file.
      most_pixels: of a photo, as its header has them.
      hosts: names by which the page may be asked for, so that no other site's name leads here;
        None: any.
    """

    def __init__(
        self,
        demos: Mapping[str, Demo],
        *,
        most_bytes: int,
        most_pixels: int,
        hosts: Iterable[str] | None,
    ):
        self._demos, self._most_bytes, self._most_pixels = demos, most_bytes, most_pixels
        self._hosts = None if hosts is None else list(hosts)
        self._places, self._turn = threading.BoundedSemaphore(_WAITING), threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answers a request, as WSGI has it."""
        request = _Request(environ)
        request.max_content_length = self._most_bytes + _FORM_BYTES
        request.trusted_hosts = self._hosts
        try:
            response = self._answer(request)
        except CorruptImage as error:
            response = _error(str(error), 400)
        except UserError as error:
            response = _error(" ".join(str(error).split()), 400)
        except MemoryError:
            response = _error("this needs more memory than there is: choose a smaller photo", 400)
        except RequestEntityTooLarge:
            response = _error(f"a photo may have {_megabytes(self._most_bytes)} at most", 413)
        except HTTPException as error:
            response = _error(error.description or error.name, error.code or 400)
        except Exception:  # one request's bug is not the end of the page
            logging.exception("%s failed", request.path)
            response = _error("this failed, which is a bug: the terminal has its traceback", 500)
        response.headers.update(_HEADERS)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        _ = request.host  # raises if it isn't one of ours
        if request.method == "POST" and request.path == "/run":
            return self._run(request)
        if request.path == "/demos":
            return _json(self._described())
        if request.path not in _FILES:
            return _error(f"there is no {request.path}", 404)
        name, kind = _FILES[request.path]
        return Response((Path(__file__).parent / name).read_text("utf-8"), content_type=kind)

    def _described(self) -> dict[str, Any]:
        demos = [
            {
                "title": title,
                "takes_photo": demo.takes_photo,
                "settings": [setting._asdict() for setting in demo.settings],
            }
            for title, demo in self._demos.items()
        ]
        return {"most_bytes": self._most_bytes, "demos": demos}

    def _run(self, request: Request) -> Response:
        own = request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
        if not own:
            return _error("the page of another site asks for this", 403)
        with self._place() as free:
            if not free:
                return _error(f"{_WAITING} others are waiting: try again later", 503)
            title = request.form.get("demo", "")
            require(title in self._demos, f"there is no demo {title!r}: load the page again")
            demo = self._demos[title]
            fields = demo.settings
            settings = {
                field.name: field.parse(request.form.get(field.name, "")) for field in fields
            }
            photo = self._photo(request) if demo.takes_photo else None
            with self._turn:
                try:
                    shown = demo(photo, settings)
                except CorruptImage as error:
                    raise CorruptImage(f"can't read {photo.name}: {error}") from error
            return _json({"shown": [part.to_json() for part in shown]})

    @contextlib.contextmanager
    def _place(self) -> Iterator[bool]:
        """Whether there is one left, for as long as the block lasts."""
        free = self._places.acquire(blocking=False)
        try:
            yield free
        finally:
            if free:
                self._places.release()

    def _photo(self, request: Request) -> Upload:
        file = request.files.get("photo")
        require(file is not None and bool(file.filename), "choose a photo first")
        name, content = PurePath(file.filename).name, file.read()
        is_video = PurePath(name).suffix.lower() in FORMATS
        require(not is_video, f"{name} is a video, and photos are looked at here")
        if len(content) > self._most_bytes:
            raise RequestEntityTooLarge
        try:
            height, width = image_size(content)
        except CorruptImage as error:
            raise CorruptImage(f"can't read {name}: {error}") from error
        most = self._most_pixels
        hint = f"shrink it to {most / 1e6:g} million pixels"
        require(width * height <= most, f"{name} is too large ({width}x{height} pixels): {hint}")
        return Upload(name, content)


def _json(values: Mapping[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(values), status, content_type="application/json")


def _error(line: str, status: int) -> Response:
    return _json({"error": line}, status)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:g} MB"
