"""`cosmotok tokenize`: right, restartable, the same on every engine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from cosmotok import Tokenizer
from cosmotok.dataset import TokenDataset
from cosmotok.dataset import worker as worker_module
from cosmotok.dataset.engines import Processes, RayEngine
from cosmotok.dataset.engines.trials import Trial, WorkerLostError
from cosmotok.dataset.hashing import hashes
from cosmotok.dataset.job import Care, Job, Step
from cosmotok.dataset.manifest import Manifest
from cosmotok.dataset.options import Options
from cosmotok.dataset.plan import Changes, Plan, Task, entries_of, read_entries
from cosmotok.dataset.reading.facts import facts_of
from cosmotok.dataset.run import RUNNING, TooManyBrokenError, status, tokenize
from cosmotok.dataset.schema import pack, unpack
from cosmotok.dataset.shaping import Shaping
from cosmotok.dataset.sources import Entry, Opened, Source, in_batches
from cosmotok.dataset.sources.find import find_sources
from cosmotok.dataset.storage import LocalStorage, storage_at
from cosmotok.dataset.verify import verify
from cosmotok.dataset.worker import Worker
from cosmotok.errors import InputError, SourceLostError
from cosmotok.media import VideoWriter, open_media, write_image
from cosmotok.processes import CallError

MODEL = "dv4x8x8-tiny"
SMALL = Options(shaping=Shaping(size=(64, 48), segment=9), shard_inputs=2)


def write_clip(path: Path, seed: int, frames: int = 20, width: int = 80, height: int = 64) -> None:
    rng = np.random.default_rng(seed)
    grid = np.linspace(0, 6, width)[None, :, None] + np.linspace(0, 4, height)[:, None, None] + rng.uniform(0, 6, 3)
    with VideoWriter(path, width=width, height=height, frame_rate=Fraction(12)) as writer:
        for number in range(frames):
            writer.write(((np.sin(grid + 0.3 * number) + 1) * 127).astype(np.uint8))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for seed in range(5):
        write_clip(folder / f"{seed}.mp4", seed, frames=12 + 5 * seed)
    write_image(folder / "photo.png", np.full((70, 90, 3), 120, np.uint8))
    (folder / "photo.txt").write_text("a grey wall")
    return folder


def content(folder: Path) -> dict[str, str]:
    """Hash of each file of a data set."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows_of(folder: Path) -> list[dict]:
    manifest = Manifest.parse((folder / "manifest.json").read_text(), "manifest")
    return [row for shard in manifest.shards for row in pq.read_table(folder / shard.name).to_pylist()]


@pytest.fixture(scope="module")
def made(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("made") / "tokens"
    tokenize([str(clips)], str(output), MODEL, options=SMALL)
    return output


def test_rows_hold_the_tokens_of_their_segments(made: Path, clips: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(MODEL)
    rows = rows_of(made)
    lengths = {f"{seed}.mp4": 12 + 5 * seed for seed in range(5)} | {"photo.png": 1}
    for name, length in lengths.items():
        mine = [row for row in rows if row["key"].endswith(name)]
        assert [row["segment"] for row in mine] == list(range(-(-length // 9)))
        assert sum(row["frames"] for row in mine) == length
        assert [row["first_frame"] for row in mine] == list(range(0, length, 9))
    row = next(row for row in rows if row["key"].endswith("3.mp4") and row["segment"] == 1)
    with open_media(clips / "3.mp4", size=(64, 51)) as reader:  # 80x64 that fills 64x48
        frames = np.stack([frame.pixels for frame in reader])[9:18, 1:49]
    video = torch.from_numpy(frames).permute(3, 0, 1, 2)[None]
    assert torch.equal(unpack(row, tokenizer.spec, "float16"), tokenizer.encode(video)[0])
    assert row["start"] == pytest.approx(9 / 12)
    assert (row["width"], row["height"], row["original_width"], row["original_height"]) == (64, 48, 80, 64)
    photo = next(row for row in rows if row["key"].endswith("photo.png"))
    assert photo["caption"] == "a grey wall" and photo["frame_rate"] is None


def test_counts_add_up_and_the_manifest_has_the_hashes(made: Path) -> None:
    manifest = Manifest.parse((made / "manifest.json").read_text(), "manifest")
    counts = manifest.counts
    assert manifest.complete and counts.planned == counts.done + counts.quarantined == 6
    rows = rows_of(made)
    assert counts.rows == len(rows) and counts.frames == sum(row["frames"] for row in rows)
    assert counts.tokens == sum(len(row["indices"]) for row in rows)
    for shard in manifest.shards:
        data = (made / shard.name).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (shard.sha256, shard.bytes)


def test_libraries_read_it_as_it_is(made: Path) -> None:
    datasets, duckdb = pytest.importorskip("datasets"), pytest.importorskip("duckdb")
    pattern = str(made / "data" / "*.parquet")
    loaded = datasets.load_dataset("parquet", data_files=pattern, split="train", cache_dir=str(made.parent / "cache"))
    assert len(loaded) == len(rows_of(made))
    assert list(loaded[0]["indices"]) == rows_of(made)[0]["indices"]
    assert duckdb.sql(f"SELECT sum(len(indices)) FROM '{pattern}'").fetchall()[0][0] == sum(
        len(row["indices"]) for row in rows_of(made)
    )


def test_processes_make_the_same(made: Path, clips: Path, tmp_path: Path) -> None:
    tokenize([str(clips)], str(tmp_path / "two"), MODEL, options=SMALL, engine=Processes(2, 1))
    assert content(tmp_path / "two") == content(made)


def test_ray_makes_the_same(made: Path, clips: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    tokenize([str(clips)], str(tmp_path / "ray"), MODEL, options=SMALL, engine=RayEngine(workers=2, cpus=0.5))
    assert content(tmp_path / "ray") == content(made)


def test_an_object_store_holds_the_same(made: Path, clips: Path) -> None:
    pytest.importorskip("fsspec")
    url = "memory://bucket/tokens"
    tokenize([str(clips)], url, MODEL, options=SMALL)
    there = storage_at(url)
    for name, expected in content(made).items():
        assert hashlib.sha256(there.read(name)).hexdigest() == expected, name
    assert not there.sizes(".plan").get("lock")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """An S3 server of this machine, with an empty bucket."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    fs = pytest.importorskip("s3fs")
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    fs.S3FileSystem.clear_instance_cache()
    fs.S3FileSystem().mkdir("videos")
    yield "s3://videos"
    fs.S3FileSystem.clear_instance_cache()
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    server.stop()


def test_from_a_bucket_to_a_bucket(bucket: str, made: Path, clips: Path) -> None:
    import s3fs

    s3fs.S3FileSystem().put(f"{clips}/", "videos/in/", recursive=True)
    manifest = tokenize([f"{bucket}/in"], f"{bucket}/out", MODEL, options=SMALL)
    assert manifest.complete and manifest.counts.planned == manifest.counts.done == 6
    there = storage_at(f"{bucket}/out")
    rows = [row for shard in manifest.shards for row in pq.read_table(there.open(shard.name)).to_pylist()]
    assert [row["indices"] for row in rows] == [row["indices"] for row in rows_of(made)]
    loader = DataLoader(TokenDataset(f"{bucket}/out", shuffle=True), batch_size=None, num_workers=2)
    assert sorted(row["row"] for row in loader) == list(range(len(rows)))
    again = tokenize([f"{bucket}/in"], f"{bucket}/out", MODEL, options=SMALL)
    assert again == manifest
    assert status(f"{bucket}/out").shards_done == 3


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8"])
def test_latents_come_with_their_statistics(clips: Path, tmp_path: Path, dtype: str) -> None:
    options = Options(shaping=Shaping(size=(64, 48), segment=9), latent_dtype=dtype, shard_inputs=2)  # type: ignore[arg-type]
    manifest = tokenize([str(clips)], str(tmp_path / "out"), "cv4x8x8-tiny", options=options)
    latents = [unpack(row, manifest.spec, manifest.latent_dtype).flatten(1) for row in rows_of(tmp_path / "out")]
    every = torch.cat(latents, 1)
    assert manifest.statistics is not None
    torch.testing.assert_close(torch.tensor(manifest.statistics.mean), every.mean(1), atol=0.02, rtol=0.02)
    torch.testing.assert_close(torch.tensor(manifest.statistics.std), every.std(1), atol=0.02, rtol=0.02)


def test_long_videos_are_streams_with_the_same_tokens(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Options(shaping=Shaping(size=(64, 48)))
    tokenize([str(clips / "4.mp4")], str(tmp_path / "stream"), MODEL, options=whole)
    longer = Options(shaping=Shaping(size=(64, 48), segment=32))
    tokenize([str(clips / "4.mp4")], str(tmp_path / "clip"), MODEL, options=longer)
    (stream,), (clip,) = rows_of(tmp_path / "stream"), rows_of(tmp_path / "clip")
    assert stream == clip
    monkeypatch.setattr(worker_module, "CLIP_BYTES", 1)
    tokenize([str(clips / "4.mp4")], str(tmp_path / "again"), MODEL, options=longer)
    assert rows_of(tmp_path / "again") == [clip]


# Going on ----------------------------------------------------------------------------------------------------------


def command(clips: Path, output: Path, *more: str) -> list[str]:
    shape = ["--segment", "9", "--size", "64x48", "--shard-inputs", "2", "-m", MODEL]
    return [sys.executable, "-m", "cosmotok", "tokenize", str(clips), "-o", str(output), *shape, *more]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_kills_leave_no_trace(made: Path, clips: Path, tmp_path: Path, workers: str) -> None:
    kills(made, clips, tmp_path, workers, 2)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_twenty_kills_leave_no_trace(made: Path, clips: Path, tmp_path: Path, workers: str) -> None:
    kills(made, clips, tmp_path, workers, 20)


def kills(made: Path, clips: Path, tmp_path: Path, workers: str, count: int) -> None:
    """Kills runs at random moments, and compares what the last one leaves with an undisturbed one's."""
    rng = random.Random(workers)
    output = tmp_path / "out"
    more = ["--workers", workers, "--threads", "1"] if workers != "0" else []
    for _ in range(count):
        process = subprocess.Popen(
            command(clips, output, *more), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(rng.uniform(1, 9))
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    subprocess.run(command(clips, output, *more), check=True, capture_output=True)
    assert {k: v for k, v in content(output).items() if not k.endswith(".part")} == content(made)


def test_what_is_done_is_not_done_again(made: Path, clips: Path, tmp_path: Path) -> None:
    import shutil

    output = tmp_path / "out"
    shutil.copytree(made, output)
    before = {path: path.stat().st_mtime_ns for path in (output / "data").iterdir()}
    lost = sorted(before)[0]
    lost.unlink()
    steps = []
    tokenize([str(clips)], str(output), MODEL, options=SMALL, advance=steps.append)
    assert sum(step.inputs for step in steps) == 2
    assert content(output) == content(made)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items() if path != lost)


def test_new_inputs_are_added_and_changed_ones_are_named(clips: Path, tmp_path: Path) -> None:
    import shutil

    source, output = tmp_path / "clips", tmp_path / "out"
    shutil.copytree(clips, source)
    tokenize([str(source)], str(output), MODEL, options=SMALL)
    first = {row["key"]: row["indices"] for row in rows_of(output)}
    write_clip(source / "new.mp4", 9)
    manifest = tokenize([str(source)], str(output), MODEL, options=SMALL)
    assert manifest.counts.planned == 7 and {row["key"] for row in rows_of(output)} == {*first, f"{source}/new.mp4"}
    write_clip(source / "1.mp4", 77, frames=30)
    (source / "2.mp4").unlink()
    with pytest.raises(InputError, match=r"1 changed \(.*1\.mp4\), 1 vanished \(.*2\.mp4\); --changed keep"):
        tokenize([str(source)], str(output), MODEL, options=SMALL)
    kept = tokenize([str(source)], str(output), MODEL, options=SMALL, renew=False)
    assert kept.counts.planned == 7
    renewed = tokenize([str(source)], str(output), MODEL, options=SMALL, renew=True)
    assert renewed.complete and renewed.counts.planned == renewed.counts.done == 6
    rows = rows_of(output)
    assert {row["key"] for row in rows} == {*first, f"{source}/new.mp4"} - {f"{source}/2.mp4"}
    assert sum(row["frames"] for row in rows if row["key"].endswith("1.mp4")) == 30
    assert len(list((output / "data").iterdir())) == len(renewed.shards)
    assert tokenize([str(source)], str(output), MODEL, options=SMALL) == renewed


KILLED = """
import os, signal, sys
from test_tokenize import MODEL, SMALL, tokenize
tokenize(
    [sys.argv[1]], sys.argv[2], MODEL, options=SMALL, renew=True,
    advance=lambda step: step.inputs and os.kill(os.getpid(), signal.SIGKILL),
)
"""


@pytest.mark.parametrize("what", ["new", "changed"])
def test_readers_have_what_was_there_until_an_extension_has_ended(
    made: Path, clips: Path, tmp_path: Path, what
) -> None:
    source, output = tmp_path / "clips", tmp_path / "out"
    shutil.copytree(clips, source)
    tokenize([str(source)], str(output), MODEL, options=SMALL)
    before = rows_of(output)
    write_clip(source / ("new.mp4" if what == "new" else "1.mp4"), 77, frames=30)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", KILLED, str(source), str(output)]
    assert subprocess.run(command, env=os.environ | {"PYTHONPATH": path}).returncode == -signal.SIGKILL
    dataset = TokenDataset(output)
    assert not dataset.manifest.complete
    assert [row["key"] for row in map(dataset.__getitem__, range(len(dataset)))] == [row["key"] for row in before]
    assert facts_of(str(output))["complete"] is False and facts_of(str(output))["inputs"] == 6
    found = status(str(output))
    assert found.done < found.planned and found.shards_done < found.shards
    (output / RUNNING).unlink(missing_ok=True)  # as half a minute later
    (fault,) = verify(str(output)).faults
    assert "is not complete" in fault
    manifest = tokenize([str(source)], str(output), MODEL, options=SMALL)
    assert manifest.complete and manifest.counts.done == (7 if what == "new" else 6)
    assert not verify(str(output)).faults and len([*(output / "data").glob("*.parquet")]) == len(manifest.shards)


def test_an_extension_is_told_before_it_is_planned(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a kill between the two leaves no manifest that says that all is done."""
    tokenize([str(clips / "0.mp4")], str(tmp_path / "out"), MODEL, options=SMALL)
    create, seen = LocalStorage.create, []

    @contextmanager
    def killed(self: LocalStorage, name: str):  # type: ignore[no-untyped-def]
        with create(self, name) as file:
            yield file
        if name == ".plan/part-00001.parquet":
            seen.append(Manifest.parse((tmp_path / "out" / "manifest.json").read_text(), "manifest").complete)

    monkeypatch.setattr(LocalStorage, "create", killed)
    assert tokenize([str(clips / f"{n}.mp4") for n in range(2)], str(tmp_path / "out"), MODEL, options=SMALL).complete
    assert seen == [False]
    assert tokenize([str(clips / f"{n}.mp4") for n in range(2)], str(tmp_path / "out"), MODEL, options=SMALL).complete


def test_another_model_or_option_is_refused(made: Path, clips: Path) -> None:
    with pytest.raises(InputError, match=r"made otherwise \(model: dv4x8x8-tiny .* not dv8x16x16-tiny"):
        tokenize([str(clips)], str(made), "dv8x16x16-tiny", options=SMALL)
    other = Options(shaping=Shaping(size=(64, 48), segment=17), shard_inputs=2)
    with pytest.raises(InputError, match=r"shaping\.segment: 9, not 17"):
        tokenize([str(clips)], str(made), MODEL, options=other)


def test_a_folder_of_something_else_is_refused(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"holds other files, such as thesis\.tex"):
        tokenize([str(clips)], str(tmp_path), MODEL, options=SMALL)


def test_sources_where_shards_would_be_written_are_refused(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "data")
    with pytest.raises(InputError, match=r"holds other files, such as data/0\.mp4"):
        tokenize([str(tmp_path / "data")], str(tmp_path), MODEL, options=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_data_set_whose_inputs_were_all_left_out_says_so(clips: Path, tmp_path: Path) -> None:
    options = Options(shaping=Shaping(segment=9, min_side=1000))
    assert tokenize([str(clips)], str(tmp_path / "out"), MODEL, options=options).counts.filtered == 6
    with pytest.raises(InputError, match="has no rows, as all inputs were left out"):
        TokenDataset(tmp_path / "out")


def test_an_input_that_is_there_twice_is_named(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the sources have \S+/1\.mp4 twice; name each"):
        tokenize([str(clips), str(clips / "1.mp4")], str(tmp_path / "out"), MODEL, options=SMALL)


def test_nothing_found_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        tokenize([str(tmp_path / "empty")], str(tmp_path / "out"), MODEL, options=SMALL)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["folder", "url"])
def test_two_runs_on_one_output_are_refused(clips: Path, tmp_path: Path, kind: str) -> None:
    output = str(tmp_path / "out") if kind == "folder" else "memory://busy/tokens"
    with storage_at(output).held(), pytest.raises(InputError, match="another run is writing"):
        tokenize([str(clips)], output, MODEL, options=SMALL)


def test_a_run_killed_at_its_first_manifest_goes_on(made: Path, clips: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / ".manifest.json.00000000-1-00000000.part").write_text("{")
    assert tokenize([str(clips)], str(output), MODEL, options=SMALL).complete


def test_files_that_go_while_they_are_listed_hide_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stays").write_text("here")
    scan = os.scandir

    class Gone:
        name = ".gone.part"

        def is_file(self) -> bool:
            return True

        def stat(self) -> os.stat_result:
            raise FileNotFoundError

    @contextmanager
    def racing(path):  # type: ignore[no-untyped-def]
        with scan(path) as entries:
            yield [Gone(), *entries]

    storage = storage_at(tmp_path)
    monkeypatch.setattr(os, "scandir", racing)
    assert storage.sizes("") == {"stays": 4}


def test_errors_of_an_object_stores_own_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from cosmotok.dataset import storage as module

    monkeypatch.setattr(module, "WAITS", (0.0, 0.0))
    tries = []

    def action() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("Could not connect to the endpoint")  # as those of botocore, no OSError
        return "answer"

    assert storage_at("memory://lost/tokens").patiently(action) == "answer"
    with pytest.raises(SourceLostError, match="does not answer"):
        storage_at("memory://lost/tokens").patiently(lambda: {}["never"])


def test_a_source_whose_name_is_no_unicode(clips: Path, tmp_path: Path) -> None:
    import shutil

    name = os.fsencode(tmp_path) + b"/\xff.png"
    try:
        shutil.copy(os.fsencode(clips / "photo.png"), name)
    except OSError:
        pytest.skip("file names here are Unicode")
    manifest = tokenize([os.fsdecode(name)], str(tmp_path / "out"), MODEL, options=SMALL)
    assert manifest.counts.rows == 1 and manifest.sources[0].endswith("\\xff.png")


def test_another_dtype_is_refused() -> None:
    with pytest.raises(InputError, match="dtype 'banana': expected one of float32"):
        Options(dtype="banana")


def test_status_of_a_data_set_at_a_url(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cosmotok.cli.app import command

    url = "memory://told/tokens"
    for name in content(made):
        storage_at(url).write(name, (made / name).read_bytes())
    command(lambda given: None)(["tokenize", "--status", url, "--json"], prog_name="cosmotok", standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["shards_done"] == 3


def test_status_of_a_run_from_outside(made: Path, clips: Path, tmp_path: Path) -> None:
    found = status(str(made))
    assert not found.running and found.planned == found.done == 6 and found.shards == found.shards_done == 3
    process = subprocess.Popen(command(clips, tmp_path / "out"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    seen = []
    while process.poll() is None:
        if (tmp_path / "out" / "manifest.json").exists():
            seen.append(status(str(tmp_path / "out")))
        time.sleep(0.2)
    assert process.returncode == 0 and seen and all(each.planned == 6 for each in seen)


# Broken inputs -----------------------------------------------------------------------------------------------------


def test_the_time_that_is_left_goes_by_inputs_of_this_run(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "out")
    place, planned = storage_at(str(tmp_path / "out")), status(str(made)).planned
    note = {"time": time.time(), "seconds": 30, "before": planned - 4, "inputs": 3, "frames": 60, "tokens": 90}
    place.write(RUNNING, json.dumps(note).encode())
    found = status(str(tmp_path / "out"))
    assert found.running and found.seconds_left == 10 and found.frames_per_second == 2
    for damaged in (b"", b"[1]", b"{}", json.dumps(note | {"time": "now"}).encode(), json.dumps(note)[:-9].encode()):
        place.write(RUNNING, damaged)
        assert not status(str(tmp_path / "out")).running


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8"])
def test_latents_of_a_single_column_are_stored(dtype: str) -> None:
    """Of a picture of 8x8 pixels: PyTorch takes any strides of it for contiguous ones."""
    spec = Tokenizer.from_pretrained("cv4x8x8-tiny").spec
    latents = torch.linspace(-1, 1, 16).reshape(1, 1, 1, 16).permute(3, 0, 1, 2)
    again = unpack(pack(latents, spec, dtype), spec, dtype)  # type: ignore[arg-type]
    assert torch.allclose(again, latents, atol=0.01)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_latents_that_are_no_numbers_are_refused(dtype: str) -> None:
    spec = Tokenizer.from_pretrained("cv4x8x8-tiny").spec
    latents = torch.zeros(16, 1, 2, 3)
    latents[3, 0, 1, 1] = float("inf")
    with pytest.raises(InputError, match="infinite"):
        pack(latents, spec, dtype)  # type: ignore[arg-type]


def test_workers_that_cannot_begin_again_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first one got to an input, that input is not to blame."""
    made = []

    class Dying:
        """Tells of an input, if it is the first, and dies."""

        is_alive = False

        def __init__(self, *_: object, **__: object) -> None:
            self.connection, self.told = object(), bool(made)
            made.append(self)

        def __enter__(self) -> Dying:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def begin(self, *_: object) -> None:
            pass

        def receive(self) -> tuple[bool, Step]:
            if self.told:
                raise CallError("exit code -9")
            self.told = True
            return False, Step(keys=("a.mp4",))

    monkeypatch.setattr("cosmotok.dataset.engines.local.Remote", Dying)
    monkeypatch.setattr("cosmotok.dataset.engines.local.wait", lambda connections: connections)
    with pytest.raises(WorkerLostError, match="before it read anything"):
        list(Processes(1).run(None, [Task(0, 0)], None, lambda step: None))  # type: ignore[arg-type]
    assert len(made) == 3  # the second may have been killed by chance


@pytest.mark.parametrize("given", [(0, None), (99999999, None), (1, 0), (1, 99999999)])
def test_counts_of_workers_and_threads_have_limits(given) -> None:
    with pytest.raises(InputError, match=r"(workers|threads)=\d+: expected a whole number from 1 to 1024"):
        Processes(*given)


def test_broken_inputs_are_quarantined_and_too_many_stop_the_run(clips: Path, tmp_path: Path) -> None:
    import shutil

    source = tmp_path / "clips"
    shutil.copytree(clips, source)
    whole = (source / "3.mp4").read_bytes()
    (source / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (source / "junk.png").write_bytes(b"no image")
    options = Options(shaping=Shaping(size=(64, 48), segment=9), shard_inputs=3)
    manifest = tokenize([str(source)], str(tmp_path / "out"), MODEL, options=options, most_quarantined=0.5)
    counts = manifest.counts
    assert (counts.planned, counts.done, counts.quarantined) == (8, 6, 2)
    lines = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert {Path(line["key"]).name for line in lines} == {"cut.mp4", "junk.png"} and all(
        line["reason"] for line in lines
    )
    assert not {Path(row["key"]).name for row in rows_of(tmp_path / "out")} & {"cut.mp4", "junk.png"}
    with pytest.raises(TooManyBrokenError, match=r"2 of 8 inputs cannot be used, more than 10%"):
        tokenize([str(source)], str(tmp_path / "strict"), MODEL, options=options)
    for number in range(20):
        (source / f"a{number:02}.png").write_bytes(b"no image")
    with pytest.raises(TooManyBrokenError, match="of the first"):
        tokenize([str(source)], str(tmp_path / "many"), MODEL, options=options)
    assert not Manifest.parse((tmp_path / "many" / "manifest.json").read_text(), "m").complete


def test_too_short_inputs_count_as_filtered(clips: Path, tmp_path: Path) -> None:
    options = Options(shaping=Shaping(size=(64, 48), segment=9, min_frames=9), shard_inputs=2)
    manifest = tokenize([str(clips)], str(tmp_path / "out"), MODEL, options=options)
    assert manifest.counts.done == 6 and manifest.counts.filtered == 1
    assert all(row["frames"] == 9 for row in rows_of(tmp_path / "out"))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 123000000 bytes."),
            "out of memory (0.1 GB asked for)",
        ),
        (InputError("video: too grey"), "video: too grey"),
    ],
    ids=["memory", "another"],
)
def test_a_batch_that_fails_is_tried_clip_by_clip(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    encode, batches = Tokenizer.encode, []

    def failing(self: Tokenizer, video: torch.Tensor, **more: object) -> torch.Tensor:
        batches.append(video.shape[0])
        if video.shape[0] > 1 or video.shape[2] == 1:
            raise error
        return encode(self, video, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Tokenizer, "encode", failing)
    options = Options(shaping=Shaping(size=(64, 48), segment=9), batch=4)
    manifest = tokenize([str(clips)], str(tmp_path / "out"), MODEL, options=options, most_quarantined=0.5)
    assert max(batches) == 4
    assert (manifest.counts.done, manifest.counts.quarantined) == (5, 1)  # the photo alone
    (line,) = (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["key"].endswith("photo.png") and told in line


def test_batches_hold_what_single_clips_hold(made: Path, clips: Path, tmp_path: Path) -> None:
    options = Options(shaping=Shaping(size=(64, 48), segment=9), shard_inputs=2, batch=3)
    tokenize([str(clips)], str(tmp_path / "out"), MODEL, options=options)
    pairs = list(zip(rows_of(made), rows_of(tmp_path / "out"), strict=True))
    same = [np.mean(np.equal(a["indices"], b["indices"])) for a, b in pairs]
    assert all(a["key"] == b["key"] for a, b in pairs) and min(same) > 0.99


def test_the_next_input_is_read_while_the_one_before_is_encoded(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, begun, seen = Tokenizer.encode, [], []
    second = threading.Event()

    def advance(step: Step) -> None:
        begun.extend(step.keys)
        if len(begun) > 1:
            second.set()

    def wait(self: Tokenizer, video: torch.Tensor, **more: object) -> torch.Tensor:
        seen.append(second.wait(10))
        return encode(self, video, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Tokenizer, "encode", wait)
    options = Options(shaping=Shaping(size=(64, 48), segment=12))  # the first video is one clip
    tokenize([str(clips / "?.mp4")], str(tmp_path / "out"), MODEL, options=options, advance=advance)
    assert seen and all(seen)


@dataclass(frozen=True)
class Deadly(Source):
    """A clip that kills whoever reads it, between two that do not."""

    folder: str

    def entries(self):  # type: ignore[no-untyped-def]
        names = ["0.mp4", "deadly", "1.mp4"]
        return in_batches(Entry(name, "1", name, 0) for name in names)

    @contextmanager
    def open(self, key: str, address: str):  # type: ignore[no-untyped-def]
        if address == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        yield Opened(Path(self.folder) / address)


DYING = """
from test_tokenize import MODEL, SMALL, Deadly, tokenize
from cosmotok.dataset import run
run.find_sources = lambda names: [Deadly(names[0])]
tokenize([{clips!r}], {output!r}, MODEL, options=SMALL)
"""


@pytest.mark.parametrize("kind", ["here", "processes", "ray"])
def test_an_input_that_kills_its_worker_is_left_out(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from cosmotok.dataset import run

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # Ray's workers find `Deadly` in this file
    engine = None if kind == "here" else Processes(1)
    if kind == "ray":
        pytest.importorskip("ray")
        engine = RayEngine(cpus=0.5)
    if kind == "here":  # the first run is killed, the next one sees to it
        script = DYING.format(clips=str(clips), output=str(tmp_path / "out"))
        assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    monkeypatch.setattr(run, "find_sources", lambda names: [Deadly(names[0])])
    manifest = tokenize([str(clips)], str(tmp_path / "out"), MODEL, options=SMALL, engine=engine, most_quarantined=0.5)
    assert (manifest.counts.done, manifest.counts.quarantined) == (2, 1)
    (line,) = (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["key"] == "deadly" and "killed twice" in line
    assert not (tmp_path / "out" / ".plan" / "here").exists()


def test_inputs_of_a_batch_at_which_workers_died_are_tried_alone() -> None:
    """The one that was read last is not to blame for what others need that are encoded with it."""
    trial = Trial()
    for _ in range(2):  # anybody's
        trial.begin()
        trial.tell(Step(keys=("b",)))
        trial.lose("killed")
    for _ in range(2):
        assert trial.begin() == Care(careful=True)
        trial.tell(Step(keys=("b",)))
        trial.tell(Step(keys=("a", "b")))
        trial.lose("killed")
    for _ in range(2):
        assert trial.begin() == Care(careful=True, alone=frozenset("ab"))
        trial.tell(Step(keys=("a",)))
        trial.lose("killed")
    care = trial.begin()
    assert care.alone == {"a", "b"} and set(care.doomed) == {"a"}


def test_a_careful_worker_tells_what_it_encodes(made: Path, clips: Path, tmp_path: Path) -> None:
    output, options = tmp_path / "out", Options(shaping=Shaping(size=(64, 48), segment=9), batch=3)
    tokenize([str(clips)], str(output), MODEL, options=options)
    expected, told = content(output), []
    job = Job(
        *(str(output), MODEL, "", Tokenizer.from_pretrained(MODEL).spec, options, "cpu"),
        sources={0: tuple(find_sources([str(clips)]))},
        signals={},
    )
    worker = Worker(job, Tokenizer.from_pretrained(MODEL), lambda step: told.append(step.keys))
    worker.make(Task(0, 0), Care(careful=True))
    assert content(output) == expected
    told = [tuple(Path(key).stem for key in keys) for keys in told if keys]
    at = told.index(("0", "1", "2"))
    assert told[0] == ("0",) and told[at - 1] == told[at + 1] == ("2",)  # which is read on
    told = []
    worker.make(Task(0, 0), Care(careful=True, alone=frozenset([next(iter(rows_of(output)))["key"]])))
    assert content(output).keys() == expected.keys()
    assert not any(len(keys) > 1 and "/0.mp4" in "".join(keys) for keys in told)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_clip_whose_frames_fill_the_memory_goes_alone(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """Before it is encoded, too, and whether it is a clip or a stream."""
    to_video = worker_module.to_video

    def small(frames: list, device: torch.device) -> torch.Tensor:
        if any(np.all(frame.pixels == 120) for frame in frames):
            raise MemoryError
        return to_video(frames, device)

    monkeypatch.setattr(worker_module, "to_video", small)
    for name, most in (("clips", worker_module.CLIP_BYTES), ("streams", 1)):
        monkeypatch.setattr(worker_module, "CLIP_BYTES", most)
        options = Options(shaping=Shaping(size=(64, 48), segment=1), batch=batch)
        manifest = tokenize([str(clips)], str(tmp_path / name), MODEL, options=options, most_quarantined=0.5)
        assert (manifest.counts.done, manifest.counts.quarantined) == (5, 1)
        (line,) = (tmp_path / name / "quarantine.jsonl").read_text().splitlines()
        assert json.loads(line)["key"].endswith("photo.png") and "out of memory" in line


def test_whoever_is_told_of_frames_does_not_spoil_their_clip(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "CLIP_BYTES", 1)

    def advance(step: Step) -> None:
        if step.frames:
            raise SourceLostError("nobody listens")

    with pytest.raises(SourceLostError, match="nobody listens"):
        tokenize([str(clips / "4.mp4")], str(tmp_path / "out"), MODEL, options=SMALL, advance=advance)


# Plans -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Single(Source):
    """One input, or none."""

    key: str

    def entries(self):  # type: ignore[no-untyped-def]
        return in_batches([Entry(self.key, "1", self.key, 1)] if self.key else [])

    def open(self, key: str, address: str):  # type: ignore[no-untyped-def]
        raise AssertionError


def test_as_many_sources_as_there_are() -> None:
    many = [Single(f"{number}.mp4" if number < 6 or number >= 2**15 else "") for number in range(2**15 + 3)]
    names, options, storage = ["clips"] * len(many), Options(), storage_at("memory://many/tokens")
    Plan(storage).extend(names[:5], many[:5], options, None)
    part, packed = (
        ".plan/part-00000.parquet",
        io.BytesIO(),
    )  # as an earlier version has it, with fewer bits for a source
    table, about = pq.read_table(storage.open(part)), pq.read_metadata(storage.open(part)).metadata
    narrow = table.set_column(table.column_names.index("source"), "source", table["source"].cast(pa.int16()))
    pq.write_table(narrow.replace_schema_metadata({b"cosmotok": about[b"cosmotok"]}), packed)
    storage.write(part, packed.getvalue())
    plan = Plan(storage)
    assert plan.extend(names, many, options, None) == Changes(added=4)
    planned = [[entry[::4] for entry in entries_of(read_entries(storage, task))] for task in plan.tasks()]
    assert planned == [[(f"{n}.mp4", n) for n in range(5)], [(f"{n}.mp4", n) for n in (5, 32768, 32769, 32770)]]


# Hashes ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.text(max_size=12), unique=True, min_size=1, max_size=60), st.data())
def test_hashes_tell_texts_apart_wherever_they_stand(texts: list[str], data: st.DataObject) -> None:
    found = hashes(pa.array(texts))
    assert len(set(found.tolist())) == len(texts)
    start = data.draw(st.integers(0, len(texts) - 1))
    assert np.array_equal(hashes(pa.array(["before", *texts]).slice(1 + start)), found[start:])
    order = data.draw(st.permutations(range(len(texts))))
    assert np.array_equal(hashes(pa.array([texts[i] for i in order])), found[list(order)])
