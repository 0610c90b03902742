"""The page of `launch.demo` as a browser asks for it, with demos that predict nothing."""

import io
import re
import threading

import numpy as np
import pytest
from PIL import Image
from werkzeug.test import Client

from common.demo.app import DemoApp
from common.demo.demos import PhotoDemo, Setting
from common.demo.shown import Bar, Bars, Comparison, File, Line, Table
from common.errors import UserError
from tests.golden.weights import make_weight

LIMITS = {"most_bytes": 3000, "most_pixels": 400, "hosts": ["127.0.0.1", "localhost"]}


def png(height=8, width=10):
    pixels = np.uint8(np.clip(make_weight("photo", (height, width, 3)) * 255, 0, 255))
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


class Sizes:
    """Tells what it was given."""

    takes_photo = True
    settings = (
        Setting("count", "Count", 1, 9, 3, whole=True),
        Setting("share", "Share", 0, 1, None),
    )

    def __call__(self, photo, settings):
        return [Line(f"{photo.stem} {len(photo.content)} {settings}")]


class Everything:
    """Shows a thing of each kind."""

    takes_photo, settings = False, ()

    def __call__(self, photo, settings):
        assert photo is None and settings == {}
        return [
            File("a.json", b"[]"),
            Comparison(b"before", b"after", "a.png"),
            Bars("shares", [Bar("red", np.float32(0.5), np.uint8([255, 0, 0])), Bar("rest", 0.5)]),
            Table([{"name": "cup", "score": 0.5}, {"name": "mug", "x": 1}]),
        ]


class Failing:
    """Raises."""

    takes_photo, settings = False, ()

    def __init__(self, error):
        self.error = error

    def __call__(self, photo, settings):
        raise self.error


DEMOS = {
    "sizes": Sizes(),
    "everything": Everything(),
    "bug": Failing(KeyError("secret")),
    "user": Failing(UserError("the photo\nis too dark")),
    "memory": Failing(MemoryError()),
}


@pytest.fixture(scope="module")
def client():
    return Client(DemoApp(DEMOS, **LIMITS))


def run(client, demo="sizes", content=None, name="cup.png", headers=None, **settings):
    photo = {"photo": (io.BytesIO(png() if content is None else content), name)}
    settings = {"count": "3", "share": ""} | settings
    return client.post("/run", data={"demo": demo} | photo | settings, headers=headers)


def test_the_page_loads_what_is_here_alone(client):
    page = client.get("/").text
    parts = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert {"page.css", "page.js"} <= set(parts)
    for part in parts:
        if not part.startswith("data:"):
            assert client.get(f"/{part}").status_code == 200
    texts = [page, client.get("/page.css").text, client.get("/page.js").text]
    assert not [text for text in texts if "//" in re.sub(r"(?m)(^|\s)//.*$", "", text)]
    policy = client.get("/").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "http" not in policy


def test_what_is_on_the_page(client):
    found = client.get("/demos").json
    assert found["most_bytes"] == 3000
    assert [demo["title"] for demo in found["demos"]] == list(DEMOS)
    assert found["demos"][0]["takes_photo"] and not found["demos"][1]["takes_photo"]
    assert found["demos"][0]["settings"][0] == {
        **{"name": "count", "label": "Count", "low": 1, "high": 9},
        **{"default": 3, "whole": True},
    }


def test_a_demo_gets_the_photo_and_what_was_chosen(client):
    content = png()
    shown = run(client, content=content, name="../my.cup.png", count="5", share="0.25").json
    text = f"my.cup {len(content)} {{'count': 5, 'share': 0.25}}"
    assert shown == {"shown": [{"kind": "line", "text": text}]}
    assert "'count': 3, 'share': None" in run(client).json["shown"][0]["text"]


def test_every_kind_reaches_the_page(client):
    file, comparison, bars, table = run(client, "everything").json["shown"]
    assert file["url"] == "data:application/json;base64,W10="
    assert comparison["before"] != comparison["after"]
    assert comparison["after"] == "data:image/png;base64,YWZ0ZXI="
    assert bars["bars"][0] == {"name": "red", "share": 0.5, "color": [255, 0, 0]}
    assert bars["bars"][1]["color"] is None
    assert table["columns"] == ["name", "score", "x"]
    assert table["rows"] == [["cup", "0.5", ""], ["mug", "", "1"]]
    drawn = client.get("/page.js").text
    for kind in ("line", "file", "comparison", "bars", "table"):
        assert re.search(rf"(?m)^  {kind}(:|\()", drawn), kind


MISTAKES = {
    "no photo": ({"name": ""}, 400, "choose a photo first"),
    "text": ({"content": b"text", "name": "a.txt"}, 400, "can't read a.txt: not an image of a"),
    "cut": ({"content": png()[:20]}, 400, "can't read cup.png: "),
    "empty": ({"content": b""}, 400, "can't read cup.png: not an image"),
    "video": ({"content": b"film", "name": "a.MP4"}, 400, "a.MP4 is a video, and photos are"),
    "pixels": ({"content": png(20, 21)}, 400, "cup.png is too large (21x20 pixels): shrink it to"),
    "bytes": ({"content": png() + b"0" * 3000}, 413, "a photo may have 0.003 MB at most"),
    "many bytes": ({"content": b"0" * 200_000}, 413, "a photo may have 0.003 MB at most"),
    "word": ({"count": "two"}, 400, "count='two': choose a whole number from 1 to 9"),
    "fraction": ({"count": "2.5"}, 400, "count='2.5': choose a whole number from 1 to 9"),
    "missing": ({"count": ""}, 400, "count='': choose a whole number"),
    "range": ({"share": "1.5"}, 400, "share='1.5': choose a number from 0 to 1"),
    "no number": ({"share": "nan"}, 400, "share='nan': choose a number from 0 to 1"),
    "demo": ({"demo": "none"}, 400, "there is no demo 'none': load the page again"),
    "user's": ({"demo": "user"}, 400, "the photo is too dark"),
    "memory": ({"demo": "memory"}, 400, "this needs more memory than there is"),
    "other host": ({"headers": {"Host": "evil.example"}}, 400, ""),
    "other site": ({"headers": {"Sec-Fetch-Site": "cross-site"}}, 403, "the page of another site"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(client, name):
    """One line, and no results."""
    given, status, line = MISTAKES[name]
    answer = run(client, **given)
    assert answer.status_code == status
    assert answer.json["error"].startswith(line) and "\n" not in answer.json["error"]


def test_pages_that_are_not_there(client):
    for path in ("/page.py", "/../app.py", "/run"):
        assert client.get(path).status_code == 404


def test_a_bug_is_told_and_the_page_goes_on(client, caplog):
    answer = run(client, "bug")
    assert answer.status_code == 500 and "secret" not in answer.text
    assert "secret" in caplog.text
    assert run(client).status_code == 200


class Slow:
    """Counts how many run at once."""

    takes_photo, settings = False, ()

    def __init__(self):
        self.running, self.most, self.begun = 0, 0, threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def __call__(self, photo, settings):
        self.running += 1
        self.most = max(self.most, self.running)
        self.begun.release()
        assert self.may_end.acquire(timeout=20)
        self.running -= 1
        return []


def test_one_runs_at_a_time_some_wait_and_more_are_sent_away():
    slow = Slow()
    client = Client(DemoApp({"slow": slow}, **LIMITS))
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(run(client, "slow").status_code))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    assert slow.begun.acquire(timeout=20)
    while len(found) == 0 and run_status(client) != 503:  # until all eight have their place
        pass
    assert found == []
    slow.may_end.release(8)
    for thread in threads:
        thread.join(20)
    assert found == [200] * 8 and slow.most == 1
    slow.may_end.release()
    assert run(client, "slow").status_code == 200  # places are free again


def run_status(client):
    """Of a request that gets no place, or asks for nothing that there is."""
    return run(client, "none").status_code


class Names:
    """A predictor that finds one thing and writes two files."""

    writes_files = True

    def prepare(self, photo):
        return len(photo)

    def run(self, prepared):
        return [length * 2 for length in prepared]

    def text(self, result):
        return f"twice is {result}"

    def files(self, result, image_id):
        return {".png": png(), ".objects.json": f"{image_id} {result}".encode()}

    def shown(self, result):
        return [Table([{"twice": result}])]


def test_a_predictor_shows_its_text_its_files_and_its_rows():
    client = Client(DemoApp({"names": PhotoDemo(Names())}, **LIMITS))
    content = png()
    line, picture, file, table = run(client, "names", content).json["shown"]
    assert line["text"] == f"twice is {2 * len(content)}"
    assert picture["name"] == "cup.png" and picture["url"].startswith("data:image/png;base64,")
    assert file["name"] == "cup.objects.json" and file["url"].startswith("data:application/json")
    assert table["rows"] == [[str(2 * len(content))]]
