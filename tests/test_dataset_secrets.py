"""What is secret in addresses is used to read, and written nowhere."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest
from test_tokenize import MODEL, write_clip

from cosmotok import Tokenizer
from cosmotok.addresses import expired, public, told
from cosmotok.dataset import entries, job, plan, rows, run
from cosmotok.dataset.engines import Processes
from cosmotok.dataset.options import Options
from cosmotok.dataset.run import tokenize
from cosmotok.dataset.shaping import Shaping
from cosmotok.dataset.sources import find, remote
from cosmotok.dataset.storage import storage_at
from cosmotok.dataset.verify import verify
from cosmotok.errors import CosmotokError, InputError, SourceLostError

OPTIONS = Options(shaping=Shaping(size=(64, 48), segment=9), shard_inputs=1)

AMAZON = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20260101%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature=5ec4e7"
)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("clips/what?token=1.mp4", "clips/what?token=1.mp4"),
        ("s3://bucket/a@b.mp4", "s3://bucket/a@b.mp4"),
        ("abfs://container@account.dfs.core.windows.net/a", "abfs://container@account.dfs.core.windows.net/a"),
        ("hf://datasets/a/b@main/c.mp4", "hf://datasets/a/b@main/c.mp4"),
        ("https://ann:5ec4e7@host:8080/a.mp4", "https://host:8080/a.mp4"),
        ("https://5ec4e7@host/a.mp4", "https://host/a.mp4"),
        ("https://ann:5e@c4e7@host/a@b.mp4", "https://host/a@b.mp4"),
        ("sftp://ann:5ec4e7@host/a.mp4", "sftp://ann@host/a.mp4"),
        (f"https://b.s3.amazonaws.com/a.mp4?{AMAZON}", "https://b.s3.amazonaws.com/a.mp4"),
        (f"https://b.s3.amazonaws.com/a.mp4?versionId=7&{AMAZON}", "https://b.s3.amazonaws.com/a.mp4?versionId=7"),
        ("https://h/a.mp4?AWSAccessKeyId=A&Signature=5ec4e7%3D&Expires=1", "https://h/a.mp4"),
        ("https://h/a.mp4?GoogleAccessId=a@b&Expires=1&Signature=5ec4e7", "https://h/a.mp4"),
        ("https://h/a.mp4?X-Goog-Credential=a&X-Goog-Signature=5ec4e7", "https://h/a.mp4"),
        ("https://h/a.mp4?sv=2024&st=1&se=2&sr=b&sp=r&spr=https&sig=5ec4e7%3D", "https://h/a.mp4"),
        ("https://h/a.mp4?Policy=5ec4e7&Signature=5ec4e7&Key-Pair-Id=K", "https://h/a.mp4"),
        ("https://h/get?id=7&token=5ec4e7&expires=9", "https://h/get?id=7"),
        ("https://h/get?id=7&X%2DAmz%2DSignature=5ec4e7", "https://h/get?id=7"),
        ("https://h/get?key=clips/a.mp4", "https://h/get?key=clips/a.mp4"),
        ("https://h/get?id=7&key=AIza5ec4e7abcdefghij", "https://h/get?id=7"),
        ("https://h/get?id=7&expires=9#t=5", "https://h/get?id=7&expires=9#t=5"),
        ("https://h/x.tar?sig=5ec4e7::a.mp4", "https://h/x.tar::a.mp4"),
        ("zip://a.mp4::https://ann:5ec4e7@h/x.zip?sig=5ec4e7", "zip://a.mp4::https://h/x.zip"),
        ("https://h/a.mp4?sig=5ec4e7\0" + "0+9 .txt:9+3", "https://h/a.mp4\0" + "0+9 .txt:9+3"),
        ('{"url": "https://h/a?sig=5ec4e7", "n": 1}', '{"url": "https://h/a", "n": 1}'),
        (r'{"caption": "at \"https://h/a?sig=5ec4e7\" so"}', r'{"caption": "at \"https://h/a\" so"}'),
        ("https://h/get?session=7&cam=2", "https://h/get?session=7&cam=2"),
        ("https://h/get?cam=2&sessionid=5ec4e7abcdefghijk", "https://h/get?cam=2"),
        ("s3://bucket/run?/tokens/*.mp4", "s3://bucket/run?/tokens/*.mp4"),
        ("s3://bucket/run?/session=abcdefghijklmnop/1.mp4", "s3://bucket/run?/session=abcdefghijklmnop/1.mp4"),
        ("https://h/salt&token/a.mp4", "https://h/salt&token/a.mp4"),
        ('{"url": "https://h/a", "caption": "Q&passwords"}', '{"url": "https://h/a", "caption": "Q&passwords"}'),
        ("https://h/a?src=https://b/c.mp4?sig=5ec4e7&id=3", "https://h/a?src=https://b/c.mp4&id=3"),
        (
            "https://h/a?src=https%3A%2F%2Fb%2Fc.mp4%3Fsig%3D5ec4e7%26id%3D3",
            "https://h/a?src=https%3A%2F%2Fb%2Fc.mp4%3Fid%3D3",
        ),
        ("https://h/a?src=https%3a//b/c.mp4&t=1", "https://h/a?src=https%3a//b/c.mp4&t=1"),
        ("404, url='https://h/a b?name=x y&sig=5ec4e7', so", "404, url='https://h/a b?name=x y so"),
    ],
)
def test_addresses_without_secrets(address: str, expected: str) -> None:
    assert public(address) == public(expected) == expected


def test_errors_without_secrets() -> None:
    url = "ftp://ann:5ec%34e7@host/a.mp4"
    assert told("ann, 5ec4e7: 530", url) == told("ann, 5ec%34e7: 530", url) == "ann, ...: 530"


class Server:
    """Serves a folder to whoever has the signature or the password of the day."""

    def __init__(self, folder: Path) -> None:
        self.signature, self.password = "5ec4e7-0", "pa55w0rd"
        self.busy = 0  # how many more requests it refuses
        server = self

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments, directory=str(folder))

            def send_head(self) -> Any:
                if server.busy:
                    server.busy -= 1
                    self.send_error(503)
                    return None
                signed = parse_qs(urlsplit(self.path).query).get("X-Amz-Signature") == [server.signature]
                login = "Basic " + base64.b64encode(f"annabel:{server.password}".encode()).decode()
                if not signed and self.headers.get("Authorization") != login:
                    self.send_error(403)
                    return None
                return super().send_head()

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def url(self, name: str) -> str:
        """A link that is signed today."""
        return f"http://{self.host}/{name}?X-Amz-Date=1{self.signature}&X-Amz-Signature={self.signature}"

    def login(self, name: str) -> str:
        return f"http://annabel:{self.password}@{self.host}/{name}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    pytest.importorskip("aiohttp")
    (tmp_path / "served").mkdir()
    for seed in range(3):
        write_clip(tmp_path / "served" / f"{seed}.mp4", seed, frames=9)
    running = Server(tmp_path / "served")
    yield running
    running.http.shutdown()
    running.http.server_close()


def written(folder: Path) -> str:
    """All that the files of a data set say, packed or not."""
    texts = []
    for path in folder.rglob("*"):
        if path.is_file():
            texts.append(path.read_bytes().decode(errors="replace"))
            if path.suffix == ".parquet":
                table = pq.read_table(path)
                texts.append(str(pq.read_metadata(path).metadata))
                texts += [str(column.to_pylist()) for column in table.columns]
    return "\n".join(texts)


def listing(path: Path, server: Server, names: list[str]) -> Path:
    rows = [{"path": server.url(name), "preview": server.url("p.jpg"), "caption": f"clip {name}"} for name in names]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_signed_links_in_a_list_are_used_and_not_written(server: Server, tmp_path: Path) -> None:
    place = tmp_path / "list.jsonl"
    names = ["0.mp4", "1.mp4", "none.mp4"]
    first = tokenize([str(listing(place, server, names))], str(tmp_path / "out"), MODEL, options=OPTIONS,
                     most_quarantined=1)  # fmt: skip
    assert (first.counts.done, first.counts.quarantined) == (2, 1)
    text = written(tmp_path / "out")
    assert f"http://{server.host}/0.mp4" in text and "5ec4e7" not in text and "X-Amz" not in text
    (tmp_path / "out" / first.shards[0].name).unlink()
    server.signature = "5ec4e7-1"
    listing(place, server, [*names, "2.mp4"])
    again = tokenize([str(place)], str(tmp_path / "out"), MODEL, options=OPTIONS, most_quarantined=1)
    assert (again.counts.done, again.counts.quarantined) == (3, 1)  # the lost one anew, and only one more
    assert again.shards[:2] == first.shards
    assert "5ec4e7" not in written(tmp_path / "out")


def test_signed_links_and_logins_as_sources(server: Server, tmp_path: Path) -> None:
    def sources() -> list[str]:
        return [server.url("0.mp4"), server.login("1.mp4")]

    first = tokenize(sources(), str(tmp_path / "out"), MODEL, options=OPTIONS)
    assert first.sources == (f"http://{server.host}/0.mp4", f"http://{server.host}/1.mp4")
    (tmp_path / "out" / first.shards[0].name).unlink()
    server.signature, server.password = "5ec4e7-1", "pa55w0rd-1"
    assert tokenize(sources(), str(tmp_path / "out"), MODEL, options=OPTIONS) == first
    more = tokenize([*sources(), server.url("2.mp4")], str(tmp_path / "out"), MODEL, options=OPTIONS)
    assert more.counts.done == 3 and more.shards[:2] == first.shards
    text = written(tmp_path / "out")
    assert "5ec4e7" not in text and "pa55w0rd" not in text and "annabel" not in text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("X-Amz-Date=20200101T000000Z&X-Amz-Expires=3600&X-Amz-Signature=5", True),
        ("X-Amz-Date=20990101T000000Z&X-Amz-Expires=3600&X-Amz-Signature=5", False),
        ("X-Goog-Date=20200101T000000Z&X-Goog-Expires=3600&X-Goog-Signature=5", True),
        ("Expires=1500000000&Signature=5", True),
        ("Expires=5000000000&Signature=5", False),
        ("se=2020-01-01T00%3A00%3A00Z&sig=5", True),
        ("se=2099-01-01&sig=5", False),
        ("se=soon&sig=5", False),
        ("X-Amz-Date=20200101T000000Z", False),
        ("id=7", False),
    ],
)
def test_links_say_until_when_they_open(query: str, expected: bool) -> None:
    assert expired(f"https://host/a.mp4?{query}") is expected


def test_links_that_expire_in_the_middle_stop_the_run(server: Server, tmp_path: Path) -> None:
    """Nothing is quarantined for it, so that fresh links go on with it."""
    place, date = tmp_path / "list.txt", "X-Amz-Date=20200101T000000Z&X-Amz-Expires=3600"
    links = [f"http://{server.host}/{name}.mp4?{date}&X-Amz-Signature={server.signature}" for name in range(3)]
    place.write_text("\n".join([*links[:1], *(f"{link}9" for link in links[1:])]))
    with pytest.raises(SourceLostError, match=r"1\.mp4: its link has expired; sign the links anew"):
        tokenize([str(place)], str(tmp_path / "out"), MODEL, options=OPTIONS)
    place.write_text("\n".join(links))
    manifest = tokenize([str(place)], str(tmp_path / "out"), MODEL, options=OPTIONS)
    assert (manifest.counts.done, manifest.counts.quarantined) == (3, 0)


def test_links_that_have_expired_before_the_run_are_named(server: Server, tmp_path: Path) -> None:
    """Not as files that are not there, which is what fsspec says of them."""
    url = f"http://{server.host}/0.mp4?X-Amz-Date=20200101T000000Z&X-Amz-Expires=3600&X-Amz-Signature=5ec4e7-9"
    with pytest.raises(SourceLostError, match=r"0\.mp4: its link has expired"):
        tokenize([url], str(tmp_path / "out"), MODEL, options=OPTIONS)


def test_a_server_that_is_busy_is_asked_again(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also about what there is; fsspec says that there is no such file."""
    monkeypatch.setattr(remote, "WAITS", (0.01, 0.01))
    server.busy = 3
    manifest = tokenize([server.url("0.mp4")], str(tmp_path / "out"), MODEL, options=OPTIONS)
    assert (manifest.counts.done, manifest.counts.quarantined) == (1, 0)
    server.busy = 100
    with pytest.raises(SourceLostError, match=r"0\.mp4: does not answer, tried 3 times .*503"):
        tokenize([server.url("0.mp4")], str(tmp_path / "out"), MODEL, options=OPTIONS)


def test_several_lists_of_signed_links(server: Server, tmp_path: Path) -> None:
    lists = [str(listing(tmp_path / f"{name}.jsonl", server, [f"{name}.mp4"])) for name in range(3)]
    manifest = tokenize(lists, str(tmp_path / "out"), MODEL, options=OPTIONS, engine=Processes(1, 1))
    assert manifest.counts.done == 3 and "5ec4e7" not in written(tmp_path / "out")


def test_a_data_set_of_an_earlier_version_goes_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its links as they were given."""
    place, output = listing(tmp_path / "list.jsonl", server, ["0.mp4", "1.mp4"]), tmp_path / "out"
    sources = [str(place), server.login("2.mp4")]
    with monkeypatch.context() as earlier:
        for module in (entries, plan, find, run, rows, job):
            earlier.setattr(module, "public", lambda text: text, raising=False)
        first = tokenize(sources, str(output), MODEL, options=OPTIONS)
    part = output / ".plan" / "part-00000.parquet"
    group, about = pq.read_table(part), json.loads(pq.read_metadata(part).metadata[b"cosmotok"])
    del about["public"]
    pq.write_table(group.replace_schema_metadata({b"cosmotok": json.dumps(about)}), part, row_group_size=1)
    assert "5ec4e7" in written(output) and "pa55w0rd" in written(output)
    (output / first.shards[1].name).unlink()
    (output / first.shards[2].name).unlink()
    server.signature, server.password = "5ec4e7-1", "pa55w0rd-1"
    listing(place, server, ["0.mp4", "1.mp4"])
    again = tokenize([str(place), server.login("2.mp4")], str(output), MODEL, options=OPTIONS)
    assert again.counts == replace(first.counts, bytes=again.counts.bytes) and again.shards[0] == first.shards[0]
    assert again.sources == (str(place), f"http://{server.host}/2.mp4")
    found = verify(str(output), Tokenizer.from_pretrained(MODEL), sample=3)
    assert not found.faults and found.not_reached == 3  # by nobody without today's links
    place.write_text("")
    with pytest.raises(InputError, match="2 vanished") as caught:
        tokenize([server.login("2.mp4")], str(output), MODEL, options=OPTIONS)
    assert "5ec4e7" not in str(caught.value) and "0.mp4" in str(caught.value)


def test_no_error_tells_a_secret(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cosmotok.dataset import storage

    monkeypatch.setattr(storage, "WAITS", ())
    monkeypatch.setattr(remote, "WAITS", ())
    wrong = f"http://ann:5ec4e7@{server.host}/0.mp4", f"http://{server.host}/0.mp4?X-Amz-Signature=5ec4e7"
    lost = "http://ann:5ec4e7@127.0.0.1:9/clips/0.mp4", "s3://ann:5ec4e7@", "sftp://ann:5ec4e7@localhost:9/clips"
    for source in (*wrong, *lost):
        with pytest.raises((CosmotokError, ImportError)) as caught:
            tokenize([source], str(tmp_path / "out"), MODEL, options=OPTIONS)
        assert "5ec4e7" not in str(caught.value), source
    for place in ("http://ann:5ec4e7@127.0.0.1:9/tokens", "nothing://ann:5ec4e7@host/tokens"):
        with pytest.raises(CosmotokError) as caught:
            storage_at(place).read("manifest.json")
        assert "5ec4e7" not in str(caught.value), place


def test_one_file_by_two_signatures_is_one_input(server: Server, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{server.url('0.mp4')}\n{server.url('0.mp4')}9\n")
    with pytest.raises(InputError, match=r"0\.mp4 twice"):
        tokenize([str(tmp_path / "list.txt")], str(tmp_path / "out"), MODEL, options=OPTIONS)
