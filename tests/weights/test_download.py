"""Weights from the web: whole, the same as before, from where they should come, or not at all."""

import hashlib
import json
import tarfile
import threading

import pytest

from common.errors import UserError
from common.weights import addresses, download, google_storage
from common.weights.archive import unpacked
from common.weights.download import fetch
from tests.weights.web import serving

CONTENT = bytes(range(256)) * 8


@pytest.fixture(scope="module")
def server():
    with serving() as web:
        yield web


@pytest.fixture
def web(server, tmp_path, monkeypatch):
    for found in (server.files, server.cuts, server.redirects, server.headers, server.statuses):
        found.clear()
    server.asked.clear()
    server.files["/a/w.npz"] = CONTENT
    monkeypatch.setenv(download.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_PAUSE", 0)
    monkeypatch.setattr(google_storage, "_HOST", server.url)
    addresses.local_path.cache_clear()
    return server


def problem(url):
    with pytest.raises(UserError) as info:
        fetch(url)
    assert "\n" not in str(info.value)
    return str(info.value)


# ---------------------------------------------------------------- whole


def test_downloaded_once_under_its_address(web, tmp_path, capsys):
    place = fetch(f"{web.url}/a/w.npz")
    assert place.read_bytes() == CONTENT and place.name == "w.npz"
    assert place.parent.name == "a" and place.is_relative_to(tmp_path / "cache")
    assert fetch(f"{web.url}/a/w.npz") == place
    assert web.asked == [("/a/w.npz", None)]
    said = capsys.readouterr().out
    assert f"downloading {web.url}/a/w.npz (2,048 bytes) to {place}" in said
    sums = place.with_name("w.npz.sha256").read_text()
    assert sums == f"{hashlib.sha256(CONTENT).hexdigest()}  w.npz\n"
    assert {p.name for p in place.parent.iterdir()} == {"w.npz", "w.npz.sha256", ".w.npz.lock"}


def test_a_cut_is_gone_on_from(web):
    web.cuts["/a/w.npz"] = [1000, 500]
    assert fetch(f"{web.url}/a/w.npz").read_bytes() == CONTENT
    assert [span for _, span in web.asked] == [None, "bytes=1000-", "bytes=1500-"]


def test_what_came_is_kept_for_the_next_try(web):
    web.cuts["/a/w.npz"] = [1000, *[0] * 4]
    message = problem(f"{web.url}/a/w.npz")
    assert "the connection broke off" in message and "the 1,000 bytes that came are kept" in message
    web.asked.clear()
    assert fetch(f"{web.url}/a/w.npz").read_bytes() == CONTENT
    assert web.asked == [("/a/w.npz", "bytes=1000-")]


def test_another_version_begins_anew(web):
    web.cuts["/a/w.npz"] = [1000, *[0] * 4]
    problem(f"{web.url}/a/w.npz")
    web.files["/a/w.npz"] = CONTENT[::-1]
    assert fetch(f"{web.url}/a/w.npz").read_bytes() == CONTENT[::-1]
    web.cuts["/a/v.npz"] = [1000]
    web.files["/a/v.npz"], web.headers["/a/v.npz"] = CONTENT, {"ETag": ""}
    assert fetch(f"{web.url}/a/v.npz").read_bytes() == CONTENT
    assert web.asked[-1] == ("/a/v.npz", None)  # it can't be told whether it is still the same


def test_of_unknown_length(web):
    web.headers["/a/w.npz"] = {"Content-Length": ""}
    assert fetch(f"{web.url}/a/w.npz").read_bytes() == CONTENT


@pytest.mark.parametrize("lie", [3000, 10**6])
def test_a_length_that_never_comes(web, lie):
    web.headers["/a/w.npz"] = {"Content-Length": str(lie), "ETag": ""}
    assert "the connection broke off" in problem(f"{web.url}/a/w.npz")
    assert len(web.asked) == 5  # one that brought something, and four that brought no more


def test_too_large_is_not_begun(web, monkeypatch, tmp_path):
    web.headers["/a/w.npz"] = {"Content-Length": str(10**14)}
    assert "100,000,000,000,000 bytes or more" in problem(f"{web.url}/a/w.npz")
    assert not list(tmp_path.rglob("*.part"))
    web.headers["/a/w.npz"] = {"Content-Length": ""}
    monkeypatch.setattr(download, "MOST_BYTES", 1000)
    assert "weights at most 1,000" in problem(f"{web.url}/a/w.npz")
    web.headers.clear()
    monkeypatch.setattr(download, "MOST_BYTES", 10**6)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("", (), {"free": 5}))
    assert "has 2,048 bytes, and the disk of" in problem(f"{web.url}/a/w.npz")


def test_of_two_at_once_one_downloads(web):
    threads = [threading.Thread(target=fetch, args=(f"{web.url}/a/w.npz",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(web.asked) == 1


# ---------------------------------------------------------------- the same


def test_a_file_that_changed_is_refused(web):
    place = fetch(f"{web.url}/a/w.npz")
    place.write_bytes(CONTENT[:-1] + b"x")
    message = problem(f"{web.url}/a/w.npz")
    assert f"{place} is not what was downloaded" in message and "remove both" in message


def test_a_sum_that_is_asked_for(web):
    right, wrong = hashlib.sha256(CONTENT).hexdigest(), "0" * 64
    assert f"has SHA-256 {right}, not {wrong}" in problem(f"{web.url}/a/w.npz#sha256={wrong}")
    assert fetch(f"{web.url}/a/w.npz#sha256={right.upper()}").read_bytes() == CONTENT
    assert "64 digits" in problem(f"{web.url}/a/w.npz#sha256=12")
    assert "64 digits" in problem(f"{web.url}/a/w.npz#md5={right}")


def test_put_there_by_hand(web):
    place = fetch(f"{web.url}/a/w.npz")
    place.with_name("w.npz.sha256").unlink()
    place.write_bytes(b"by hand")
    assert fetch(f"{web.url}/a/w.npz").read_bytes() == b"by hand"
    assert place.with_name("w.npz.sha256").exists() and len(web.asked) == 1


# ---------------------------------------------------------------- not at all


def test_no_such_file(web, tmp_path):
    message = problem(f"{web.url}/a/no.npz")
    assert f"can't download {web.url}/a/no.npz: there is no such file (404" in message
    assert "/a/no.npz, or give the path" in message and "--weights" in message
    assert not list(tmp_path.rglob("no.npz"))


def test_no_network(web, tmp_path):
    message = problem("http://127.0.0.1:9/a/w.npz")
    assert "http://127.0.0.1:9/a/w.npz: no connection" in message
    assert f"put the file at {tmp_path}/cache/127.0.0.1_9/a/w.npz, or give" in message


def test_a_busy_server_is_asked_again(web):
    web.statuses["/a/w.npz"] = 503
    assert "(503" in problem(f"{web.url}/a/w.npz")
    assert len(web.asked) == 4
    web.statuses["/a/w.npz"] = 403
    assert "it is not public (403" in problem(f"{web.url}/a/w.npz")
    assert len(web.asked) == 5


def test_a_web_page_is_not_kept(web, tmp_path):
    web.headers["/a/w.npz"] = {"Content-Type": "text/html"}
    assert "a web page comes instead" in problem(f"{web.url}/a/w.npz")
    assert not list(tmp_path.rglob("w.npz"))


# ---------------------------------------------------------------- from where


def test_redirects(web):
    web.redirects["/old"] = f"{web.url}/a/w.npz"
    assert fetch(f"{web.url}/old").read_bytes() == CONTENT
    for target in ("http://example.org/w.npz", "ftp://127.0.0.1/w.npz"):
        web.redirects["/out"] = target
        assert f"/out leads to {target}: only https:// is fetched" in problem(f"{web.url}/out")
    web.redirects["/out"] = "file:///etc/passwd"
    assert "can't download" in problem(f"{web.url}/out")


@pytest.mark.parametrize(
    "url", ["http://example.org/w.npz", "https:///w.npz", "https://[::1/w", "file:///etc/passwd"]
)
def test_only_https(web, url):
    assert url in problem(url)


@pytest.mark.parametrize("path", ["/../../x", "/%2e%2e/%2e%2e/x", "/a/..%2f..%2f/x", "/a//./.../x"])
def test_names_stay_in_the_cache(web, path, tmp_path):
    web.files[path] = CONTENT
    place = fetch(f"{web.url}{path}").resolve()
    assert place.is_relative_to(tmp_path / "cache") and place.read_bytes() == CONTENT
    one, other = (fetch(f"{web.url}/a/w.npz?version={n}") for n in (1, 2))
    assert one != other


# ---------------------------------------------------------------- buckets


@pytest.mark.parametrize(
    ("address", "files", "local"),
    [
        ("m/w.npz", {"m/w.npz", "m/w.npz.txt"}, "m/w.npz"),
        (
            "m/224",
            {"m/224/a.ckpt.index", "m/224/a.ckpt.data-00000-of-00001", "m/224/notes.txt"},
            "m/224/a.ckpt",
        ),
        ("m/b.ckpt", {"m/b.ckpt.index", "m/b.ckpt.data-00000-of-00001"}, "m/b.ckpt"),
        ("m/own/", {"m/own/config.json", "m/own/model.safetensors", "m/own/README.md"}, "m/own"),
    ],
)
def test_buckets(web, address, files, local, tmp_path):
    web.files |= {f"/bucket/{name}": name.encode() for name in files}
    web.files["/bucket/m/2240/a.ckpt.index"] = b"of another folder"
    place = addresses.local_path(f"gs://bucket/{address}")
    assert str(place).endswith(f"/bucket/{local}")
    had = {p.name for p in tmp_path.rglob("*") if p.suffix not in (".sha256", ".lock", ".json")}
    assert not had & {"notes.txt", "README.md", "w.npz.txt"}
    addresses.local_path.cache_clear()
    web.asked.clear()
    assert addresses.local_path(f"gs://bucket/{address}") == place
    assert not web.asked  # without a network, too


def test_buckets_of_several_checkpoints(web):
    for step in (1, 2):
        web.files[f"/bucket/m/a-{step}.index"] = b"index"
        web.files[f"/bucket/m/a-{step}.data-00000-of-00001"] = b"data"
    with pytest.raises(UserError, match="holds 2 checkpoints: give one, such as gs://bucket/m/a-2"):
        addresses.local_path("gs://bucket/m")
    web.files["/bucket/m/checkpoint"] = b'model_checkpoint_path: "/cns/x/a-1"\n'
    assert addresses.local_path("gs://bucket/m").name == "a-1"


def test_buckets_without_a_network(web, tmp_path, monkeypatch):
    monkeypatch.setattr(google_storage, "_HOST", "http://127.0.0.1:9")
    here = tmp_path / "cache" / "127.0.0.1_9" / "bucket" / "m" / "224"
    with pytest.raises(UserError) as info:
        addresses.local_path("gs://bucket/m/224")
    assert "can't look up gs://bucket/m/224: no connection" in str(info.value)
    assert f"put what lies there at {here}, or give the path of weights" in str(info.value)
    here.mkdir(parents=True)
    assert addresses.local_path("gs://bucket/m/224") == here
    (here / "a.ckpt.index").touch()
    assert addresses.local_path("gs://bucket/m/224/a.ckpt") == here / "a.ckpt"


def test_buckets_without_weights(web):
    web.files |= {"/bucket/run/checkpoints/1/state": b"", "/bucket/run/config.json": b"{}"}
    web.files["/bucket/texts/a.txt"] = b""
    assert addresses.local_path("gs://bucket/run") is None  # read in place
    for address, said in (("no", "there is nothing"), ("texts", "no weights in this folder")):
        with pytest.raises(UserError, match=said):
            addresses.local_path(f"gs://bucket/{address}")
    web.statuses["/storage/v1/b/private/o"] = 401
    assert addresses.local_path("gs://private/run") is None
    with pytest.raises(UserError, match="names no file"):
        addresses.local_path("gs://bucket")


# ---------------------------------------------------------------- archives


def packed(path, files):
    """Links and folders are members too."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(member)
                continue
            (path.parent / "member").write_bytes(content)
            tar.add(path.parent / "member", arcname=name)
    return path


def test_archives(web, tmp_path):
    files = {"moat/m.index": b"i", "moat/m.data-00000-of-00001": b"d", "moat/run.sh": b"rm"}
    path = packed(tmp_path / "m.tar.gz", files | {"moat/l.index": None, "../../out.index": b"o"})
    web.files["/m.tar.gz"] = path.read_bytes()
    folder = addresses.local_path(f"{web.url}/m.tar.gz")
    found = {"m.index", "m.data-00000-of-00001", "out.index"}
    assert {p.name for p in folder.iterdir()} == found
    assert not list(tmp_path.parent.glob("out.index"))
    (tmp_path / ".s.tar.gz.unpacked.tmp" / "new" / "half.npz").mkdir(parents=True)  # killed at it
    single = unpacked(packed(tmp_path / "s.tar.gz", {"a/w.npz": b"w", "a/readme": b"r"}))
    assert single.read_bytes() == b"w" and not [*tmp_path.glob(".s*")]


def test_archives_that_are_none(tmp_path, monkeypatch):
    good = packed(tmp_path / "m.tar.gz", {"m.index": CONTENT * 9}).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(good[:-40])
    (tmp_path / "text.tar.gz").write_bytes(b"no archive")
    packed(tmp_path / "empty.tar.gz", {"readme": b""})
    packed(tmp_path / "twice.tar.gz", {"a/m.index": b"1", "b/m.index": b"2"})
    for name, said in (
        ("cut", "damaged archive"),
        ("text", "damaged archive"),
        ("empty", "holds no weights"),
        ("twice", "two files called m.index"),
    ):
        with pytest.raises(UserError, match=said):
            unpacked(tmp_path / f"{name}.tar.gz")
    monkeypatch.setattr("common.weights.archive.MOST_BYTES", 1000)
    with pytest.raises(UserError, match="more than 1,000 bytes"):
        unpacked(tmp_path / "m.tar.gz")
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


def test_what_a_bucket_answers_is_no_listing(web, monkeypatch):
    monkeypatch.setattr("tests.weights.web.listing", lambda *_: json.dumps([1]).encode())
    with pytest.raises(UserError, match="is no listing"):
        addresses.local_path("gs://bucket/m")
