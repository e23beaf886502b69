"""LeRobot data sets: every camera of every episode, with its signals frame by frame, and nothing outside the folder."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import fsspec
import media_samples as samples
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from robots import CAMERAS, write_robots

from cosmotok import Tokenizer
from cosmotok.dataset import TokenDataset
from cosmotok.dataset.options import Options
from cosmotok.dataset.run import tokenize
from cosmotok.dataset.segments import cut
from cosmotok.dataset.shaping import Shaping
from cosmotok.dataset.sources import Source, find_sources
from cosmotok.dataset.verify import verify
from cosmotok.errors import InputError, MediaError

VERSIONS = ("v2.1", "v3.0")


@pytest.fixture(scope="module", params=VERSIONS)
def robots(request, tmp_path_factory) -> Path:
    return write_robots(tmp_path_factory.mktemp("robots") / "set", request.param)


def entries(path: Path | str) -> tuple[Source, list[dict]]:
    (source,) = find_sources([str(path)])
    return source, [row for batch in source.entries() for row in batch.to_pylist()]


def test_every_camera_of_every_episode_with_its_own_frames_and_signals(robots):
    source, found = entries(robots)
    assert [row["key"] for row in found] == [
        f"{robots}::episode-{number:06}::{camera}" for number in range(3) for camera in CAMERAS
    ]
    assert dict(source.signals) == {"observation.state": (3,), "action": (2, 1), "next.done": (1,)}
    start = 0
    for number, length in enumerate((5, 6, 7)):
        for camera, row in zip(CAMERAS, found[2 * number : 2 * number + 2], strict=True):
            assert json.loads(row["metadata"]) == {
                "caption": f"task {number % 2}",
                "episode": number,
                "camera": camera,
                "robot": "arm",
            }
            assert row["bytes"] > 0
            with pickle.loads(pickle.dumps(source)).open(row["key"], row["address"]) as opened:
                assert {name: values.shape for name, values in opened.signals.items()} == {
                    name: (length, *shape) for name, shape in source.signals.items()
                }
                assert all(values.dtype == np.float32 for values in opened.signals.values())
                with cut(opened, Shaping()) as segments:
                    (frames,) = [list(segment.frames) for segment in segments]
            assert [frame.number for frame in frames] == list(range(length))
            shown = [samples.frame_number(frame.pixels) for frame in frames]
            assert shown == list(range(start, start + length))
            assert opened.signals["observation.state"][:, 0].tolist() == shown
            assert opened.signals["action"][:, 1, 0].tolist() == [-number for number in shown]
            assert opened.signals["next.done"][:, 0].tolist() == [0.0] * (length - 1) + [1.0]
        start += length


def test_signals_follow_frames_at_another_rate(robots):
    source, found = entries(robots)
    with source.open(found[4]["key"], found[4]["address"]) as opened, cut(opened, Shaping(frame_rate=5)) as segments:
        numbers = [frame.number for segment in segments for frame in segment.frames]
    assert opened.signals["observation.state"][numbers, 0].tolist() == [11, 13, 15, 17]


def test_a_change_shows(tmp_path):
    def stamps() -> dict[str, str]:
        return {row["key"].partition("::")[2]: row["stamp"] for row in entries(root)[1]}

    root = write_robots(tmp_path / "set", "v2.1")
    before = stamps()
    data = root / "data/chunk-000/episode_000001.parquet"
    pq.write_table(pq.read_table(data), data, compression="none")
    (root / f"videos/chunk-000/{CAMERAS[0]}/episode_000002.mp4").unlink()
    changed = {key for key, stamp in stamps().items() if before[key] != stamp}
    assert changed == {f"episode-000001::{camera}" for camera in CAMERAS} | {f"episode-000002::{CAMERAS[0]}"}
    source, found = entries(root)
    with pytest.raises(MediaError, match="no such file"), source.open(found[4]["key"], found[4]["address"]):
        pass


def test_remote(robots):
    memory = fsspec.filesystem("memory")
    memory.put(str(robots), "/remote/robots", recursive=True)
    source, found = entries("memory://remote/robots")
    here = entries(robots)[1]
    assert [row["key"].partition("::")[2] for row in found] == [row["key"].partition("::")[2] for row in here]
    for row in found:
        with source.open(row["key"], row["address"]) as opened, cut(opened, Shaping()) as segments:
            shown = [samples.frame_number(frame.pixels) for segment in segments for frame in segment.frames]
        assert opened.signals["observation.state"][:, 0].tolist() == shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codebase_version": "v1.6"}, "version v1.6"),
        ({"features": {}}, "no camera"),
        ({"features": []}, "info.json"),
        ({"features": {"a": {"dtype": "video"}, "b": {"dtype": "float32", "shape": [1 << 30]}}}, "shape of b"),
        ({"fps": 0}, "fps"),
        ({"fps": "fast"}, "damaged"),
        ({"video_path": None}, "video_path"),
        ({"video_path": "../../{video_key}.mp4"}, "leads out"),
        ({"data_path": "/etc/{episode_index:06d}.parquet"}, "leads out"),
        ({"video_path": "{video_key.__class__}"}, "leads out"),
        ({"video_path": "s3://bucket/{video_key}.mp4"}, "leads out"),
        ({"chunks_size": 0}, "chunks_size"),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_what_info_says_is_judged(tmp_path, version, changes, message):
    root = write_robots(tmp_path / "set", version, (2,), **changes)
    with pytest.raises(InputError, match=message) as error:
        entries(root)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_a_camera_whose_name_leads_out(tmp_path):
    root = write_robots(tmp_path / "set", "v3.0", (2,))
    info = json.loads((root / "meta/info.json").read_text())
    info["features"] = {"../../../etc": {"dtype": "video"}}
    (root / "meta/info.json").write_text(json.dumps(info))
    facts = {"episode_index": 0, "length": 2, "data/chunk_index": 0, "data/file_index": 0}
    for name, value in (("chunk_index", 0), ("file_index", 0), ("from_timestamp", 0.0)):
        facts[f"videos/../../../etc/{name}"] = value
    pq.write_table(pa.Table.from_pylist([facts]), root / "meta/episodes/chunk-000/file-000.parquet")
    with pytest.raises(InputError, match="leads out"):
        entries(root)


def test_damaged_lists_of_episodes(tmp_path):
    root = write_robots(tmp_path / "two", "v2.1", (2, 2))
    episodes = root / "meta/episodes.jsonl"
    for text, message in (
        ('{"episode_index": 0, "length": 2}\n{"episode', "line 2"),
        ("[1]\n", "line 1"),
        ('{"length": 2}\n', "lacks 'episode_index'"),
        ('{"episode_index": -1, "length": 2}\n', "episode_index"),
        ("", "without episodes"),
    ):
        episodes.write_text(text)
        with pytest.raises(InputError, match=message):
            entries(root)
    root = write_robots(tmp_path / "three", "v3.0", (2, 2))
    table = root / "meta/episodes/chunk-000/file-000.parquet"
    row = pq.read_table(table).to_pylist()[0]
    pq.write_table(pa.Table.from_pylist([row | {f"videos/{CAMERAS[0]}/from_timestamp": float("nan")}]), table)
    with pytest.raises(InputError, match=r"file-000\.parquet, row 1"):
        entries(root)
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"file-000\.parquet: damaged"):
        entries(root)


def test_signals_that_do_not_fit_are_that_episodes_error(tmp_path):
    root = write_robots(tmp_path / "set", "v2.1")
    short = root / "data/chunk-000/episode_000000.parquet"
    pq.write_table(pq.read_table(short).slice(0, 4), short)
    (root / "data/chunk-000/episode_000001.parquet").write_bytes(b"PAR1 no more PAR1")
    source, found = entries(root)
    for row, message in ((found[0], "5 frames, but 4 rows"), (found[2], "cannot be read")):
        with pytest.raises(MediaError, match=message), source.open(row["key"], row["address"]):
            pass
    with source.open(found[4]["key"], found[4]["address"]) as opened:
        assert len(opened.signals["action"]) == 7


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (
            "observation.state",
            pa.array([[1.0], [1.0, 2.0, 3.0, 4.0, 5.0]] * 2 + [[1.0, 2.0, 3.0]]),
            "different lengths",
        ),
        ("observation.state", pa.array([["a", "b", "c"]] * 5), "cannot be read"),
        ("episode_index", pa.array(["0"] * 5), "cannot be read"),
    ],
)
def test_signals_of_another_kind_are_that_episodes_error(tmp_path, name, values, message):
    root = write_robots(tmp_path / "set", "v2.1")
    path = root / "data/chunk-000/episode_000000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(name), name, values), path)
    source, found = entries(root)
    with pytest.raises(MediaError, match=message), source.open(found[0]["key"], found[0]["address"]):
        pass


def test_without_info_it_is_no_folder_of_videos(robots, tmp_path):
    shutil.copytree(robots, tmp_path / "set")
    (tmp_path / "set/meta/info.json").unlink()
    with pytest.raises(InputError, match=r"no meta/info\.json; fetch that file"):
        find_sources([str(tmp_path / "set")])
    assert find_sources([str(tmp_path / "set/videos")])


def test_a_data_set_of_tokens_has_the_signals_of_its_latent_frames(robots, tmp_path):
    output = str(tmp_path / "tokens")
    manifest = tokenize([str(robots)], output, "cv4x8x8-tiny", options=Options(shaping=Shaping(size=(64, 48))))
    assert manifest.signals == {"observation.state": (3,), "action": (2, 1), "next.done": (1,)}
    dataset, lengths = TokenDataset(output), (5, 6, 7)
    assert len(dataset) == len(lengths) * len(CAMERAS)
    for row in dataset:
        episode = row["metadata"]["episode"]
        first, length = sum(lengths[:episode]), lengths[episode]
        states = row["signals"]["observation.state"][:, 0].tolist()
        assert states == list(range(first, first + length)) and row["caption"] == f"task {episode % 2}"
        last = first + length - 1
        groups = [[first] * 4, *([min(n, last) for n in range(begin, begin + 4)] for begin in (first + 1, first + 5))]
        assert row["latent_signals"]["observation.state"][:, :, 0].tolist() == groups[: row["tokens"].shape[1]]
        assert row["latent_signals"]["action"].shape == (row["tokens"].shape[1], 4, 2, 1)
    found = verify(output, Tokenizer.from_pretrained("cv4x8x8-tiny"), sample=3)
    assert found.same == 3 and not found.faults
