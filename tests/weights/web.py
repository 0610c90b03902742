"""A web server on this machine that behaves as the tests need it."""

import contextlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator


class Web:
    """What it serves, and what it was asked.

    Attributes:
      url: of the server.
      files: content by path; may change between requests.
      cuts: by path, after how many bytes the next answers break off.
      redirects: by path, where it leads.
      headers: by path, more of them, or others.
      statuses: by path, other than 200.
      asked: path and Range of every request.
    """

    def __init__(self, url: str):
        self.url = url
        self.files: dict[str, bytes] = {}
        self.cuts: dict[str, list[int]] = {}
        self.redirects: dict[str, str] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.statuses: dict[str, int] = {}
        self.asked: list[tuple[str, str | None]] = []


@contextlib.contextmanager
def serving() -> Iterator[Web]:
    """Serves while the block lasts."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            path, _, query = self.path.partition("?")
            web.asked.append((path, self.headers.get("Range")))
            if path in web.redirects:
                self._head(302, {"Location": web.redirects[path], "Content-Length": "0"})
            elif path.startswith("/storage/v1/b/"):
                self._body(path, listing(web.files, path, query))
            elif path in web.files:
                self._body(path, web.files[path])
            else:
                self._head(404, {"Content-Length": "0"})

        def _body(self, path, content):
            tag = f'"{hash(content)}"'
            headers, status, start = {"ETag": tag}, web.statuses.get(path, 200), 0
            wanted = self.headers.get("Range")
            if wanted and self.headers.get("If-Range") == tag:
                start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            if start and start >= len(content):
                return self._head(416, {"Content-Length": "0"})
            headers["Content-Length"] = str(len(content) - start)
            given = headers | web.headers.get(path, {})
            self._head(status, {name: value for name, value in given.items() if value})
            cut = web.cuts.get(path, [])
            self.wfile.write(content[start:][: cut.pop(0) if cut else None])

        def _head(self, status, headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web = Web(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def listing(files: dict[str, bytes], path: str, query: str) -> bytes:
    """What Google Cloud Storage answers about objects whose names begin alike."""
    bucket = path.split("/")[4]
    prefix = urllib.parse.parse_qs(query)["prefix"][0]
    names, folders = [], set()
    for file in files:
        name = file.removeprefix(f"/{bucket}/")
        if file != name and name.startswith(prefix):
            rest, slash, _ = name[len(prefix) :].partition("/")
            if slash:
                folders.add(f"{prefix}{rest}/")
            else:
                names.append({"name": name})
    return json.dumps({"items": names, "prefixes": sorted(folders)}).encode()
