"""Sources at URLs: an S3 server, a web server, and what happens when they do not answer."""

from __future__ import annotations

import http.server
import io
import pickle
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import media_samples as samples
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosmotok.dataset.sources import find_sources, remote
from cosmotok.dataset.sources.remote import Remote
from cosmotok.errors import InputError, MediaError, SourceLostError

boto3 = pytest.importorskip("boto3")
moto_server = pytest.importorskip("moto.server")
pytest.importorskip("s3fs")


def rows(*names: str) -> list:
    return [(source, row) for source in find_sources(names) for batch in source.entries() for row in batch.to_pylist()]


def content(source, row) -> bytes:
    with pickle.loads(pickle.dumps(source)).open(row["key"], row["address"]) as opened:
        copy = opened.path
        found = copy.read_bytes()
    assert not copy.exists()
    return found


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> bytes:
    return samples.encode(tmp_path_factory.mktemp("clip") / "a.mp4", samples.numbered(4), rate=10).read_bytes()


@pytest.fixture(scope="module")
def bucket(clip) -> Iterator:
    """A bucket of an S3 server, with videos, a caption, a shard, a table and a list."""
    server = moto_server.ThreadedMotoServer(port=0)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name, value in (("ACCESS_KEY_ID", "us"), ("SECRET_ACCESS_KEY", "them"), ("DEFAULT_REGION", "us-east-1")):
            patch.setenv(f"AWS_{name}", value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="films")
        for key, body in {
            "in/a.mp4": clip,
            "in/a.txt": b"a caption",
            "in/deep/b.mp4": clip + b"\0",
            "in/deep/notes.md": b"",
            "in/.hidden.mp4": clip,
            "in/z/": b"",
            "list.csv": b"path,caption\nin/a.mp4,first\ns3://films/in/deep/b.mp4,second\nin/missing.mp4,\n",
            "shards/0.tar": shard({"x.mp4": clip, "x.txt": b"in a tar", "y.mp4": clip}),
            "tables/0.parquet": table(clip),
        }.items():
            client.put_object(Bucket="films", Key=key, Body=body)
        yield client
    server.stop()


def shard(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, body in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(body)
            archive.addfile(about, io.BytesIO(body))
    return file.getvalue()


def table(clip: bytes) -> bytes:
    file = io.BytesIO()
    cells = [{"bytes": clip + bytes([n]), "path": f"{n}.mp4"} for n in range(9)]
    pq.write_table(pa.table({"video": cells, "text": [f"row {n}" for n in range(9)]}), file, row_group_size=6)
    return file.getvalue()


def test_a_prefix_of_a_bucket(bucket, clip):
    found = rows("s3://films/in")
    assert [row["key"] for _, row in found] == ["s3://films/in/a.mp4", "s3://films/in/deep/b.mp4"]
    assert [row["bytes"] for _, row in found] == [len(clip), len(clip) + 1]
    assert [content(*each) for each in found] == [clip, clip + b"\0"]
    source, row = found[0]
    with source.open(row["key"], row["address"]) as opened:
        assert opened.metadata == {"caption": "a caption"} and opened.path.suffix == ".mp4"
    assert [row["key"] for _, row in rows("s3://films/in/")] == [row["key"] for _, row in found]


def test_stamps_stay_until_the_object_changes(bucket, clip):
    bucket.put_object(Bucket="films", Key="other/a.mp4", Body=clip)
    ((_, before),) = rows("s3://films/other")
    bucket.put_object(Bucket="films", Key="other/a.mp4", Body=clip)
    ((_, same),) = rows("s3://films/other/a.mp4")
    bucket.put_object(Bucket="films", Key="other/a.mp4", Body=clip[:-1] + b"x")
    ((_, after),) = rows("s3://films/other/*.mp4")
    assert before["key"] == same["key"] == after["key"] == "s3://films/other/a.mp4"
    assert before["stamp"] == same["stamp"] != after["stamp"]


def test_shards_and_tables_in_a_bucket(bucket, clip):
    found = rows("s3://films/shards/{0..0}.tar", "s3://films/tables")
    assert [row["key"] for _, row in found] == [
        *(f"s3://films/shards/0.tar::{name}.mp4" for name in "xy"),
        *(f"s3://films/tables/0.parquet::{n}" for n in range(9)),
    ]
    assert [content(*each) for each in found] == [clip, clip, *(clip + bytes([n]) for n in range(9))]


def test_a_list_in_a_bucket(bucket, clip):
    found = rows("s3://films/list.csv")
    assert [row["key"] for _, row in found] == [f"s3://films/in/{name}.mp4" for name in ("a", "deep/b", "missing")]
    assert content(*found[0]) == clip
    with pytest.raises(MediaError, match=r"missing\.mp4: no such file"):
        content(*found[2])


def test_what_is_not_there(bucket):
    for name in ("s3://films/nowhere", "s3://no-such-bucket/a", "s3://films/in/*.webm", "s3://films/{a,b}.tar"):
        with pytest.raises(InputError) as error:
            rows(name)
        assert "\n" not in str(error.value)
    ((source, row),) = rows("s3://films/in/a.mp4")
    with pytest.raises(MediaError, match="no such file"):
        content(source, {**row, "address": row["address"].replace("a.mp4", "gone.mp4")})


def test_a_place_that_does_not_answer_is_lost_before_a_minute_is_over(bucket, monkeypatch):
    ((source, row),) = rows("s3://films/in/a.mp4")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setattr(remote, "WAITS", (0.1, 0.1))
        fsspec.filesystem("s3").clear_instance_cache()
        start = time.monotonic()
        with pytest.raises(SourceLostError, match=r"s3://films/in/a\.mp4: does not answer, tried 3 times"):
            content(source, row)
        assert time.monotonic() - start < 50
    fsspec.filesystem("s3").clear_instance_cache()


# A web server ------------------------------------------------------------------------------------------------------


@pytest.fixture
def web(tmp_path) -> Iterator[tuple[str, list[int], Path]]:
    """Its address, statuses that it answers first, and its folder."""
    answers: list[int] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, directory=str(tmp_path), **named)

        def do_GET(self):
            if answers:
                self.send_error(answers.pop(0))
            else:
                super().do_GET()

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", answers, tmp_path
        server.shutdown()


def test_files_of_a_web_server(web, clip, monkeypatch):
    address, answers, folder = web
    monkeypatch.setattr(remote, "WAITS", (0.01, 0.01))
    (folder / "a.mp4").write_bytes(clip)
    ((source, row),) = rows(f"{address}/a.mp4")
    assert (row["key"], row["bytes"]) == (f"{address}/a.mp4", len(clip))
    answers += [503, 500]
    assert content(source, row) == clip
    answers += [503] * 20
    with pytest.raises(SourceLostError, match="503"):
        content(source, row)
    answers[:] = [403] * 20
    with pytest.raises(MediaError, match="403"):
        content(source, row)
    answers.clear()
    (folder / "list.txt").write_text(f"{address}/a.mp4\n{address}/b.mp4\n")
    found = rows(str(folder / "list.txt"))
    assert content(*found[0]) == clip
    with pytest.raises(MediaError, match=r"b\.mp4: no such file"):
        content(*found[1])


@pytest.mark.parametrize("url", ["http://", "https://[::1/a.mp4", "s3:///a.mp4"])
def test_an_address_of_nothing_is_not_waited_for(url, monkeypatch):
    monkeypatch.setattr(remote, "WAITS", ())
    with pytest.raises(InputError, match="not an address"), Remote().local(url):
        pass


def test_an_address_of_no_known_kind():
    with pytest.raises(InputError, match="nonsense"):
        rows("nonsense://a/b")
