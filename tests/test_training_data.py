"""Training data: sources, the plan of batches, random clips, resuming, ranks and workers, and bad input."""

from __future__ import annotations

import functools
import gc
import http.server
import io
import itertools
import json
import os
import pickle
import signal
import sys
import tarfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import media_samples as samples
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cosmotok.errors import ConfigError, CosmotokError, InputError
from cosmotok.training.data import Batch, DataOptions, TrainingData, check_data, find_items
from cosmotok.training.data import shards as shard_module
from cosmotok.training.data.cache import ClipCache
from cosmotok.training.data.clips import ClipReader, choose_frames, random_crop, scaled_size
from cosmotok.training.data.options import MotionOptions, bucket_sizes
from cosmotok.training.data.plan import Plan

# Files -------------------------------------------------------------------------------------------------------------


def write_video(path: Path, count: int = 12, width: int = 32, height: int = 24) -> Path:
    """A clip whose frames tell their number by their grey level, with one keyframe."""
    return samples.encode(path, samples.numbered(count, width, height), options={"preset": "ultrafast", "crf": "8"})


def write_picture(path: Path, level: int = 100, width: int = 32, height: int = 24) -> Path:
    Image.fromarray(samples.solid((level,) * 3, width, height)).save(path)
    return path


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven videos and five pictures."""
    folder = tmp_path_factory.mktemp("footage")
    (folder / "deep").mkdir()
    for number in range(7):
        write_video(folder / ("deep" if number % 2 else ".") / f"v{number}.mp4", 8 + number)
    for number in range(5):
        write_picture(folder / f"p{number}.png", 40 * number)
    return folder


def options(*sources: Path | str, **changes: object) -> DataOptions:
    return replace(DataOptions(train=[str(source) for source in sources], workers=0, cache=8), **changes)  # type: ignore[arg-type]


def data(chosen: DataOptions, **changes: object) -> TrainingData:
    settings = {"frames": 5, "crop": 16, "clips": 2, "images": 2, "spatial_factor": 8, "seed": 0} | changes
    return TrainingData(chosen, **settings)  # type: ignore[arg-type]


def take(chosen: TrainingData, count: int, start: int = 0) -> list[Batch]:
    stream = chosen.batches(start)
    batches = list(itertools.islice(stream, count))
    stream.close()  # type: ignore[attr-defined]
    return batches


def same(ours: Batch, theirs: Batch) -> bool:
    facts = [(batch.kind, batch.step, batch.epoch, batch.keys) for batch in (ours, theirs)]
    return facts[0] == facts[1] and torch.equal(ours.pixels, theirs.pixels)


# The plan ----------------------------------------------------------------------------------------------------------

counts = st.lists(st.integers(1, 12), min_size=1, max_size=4)


def grouped(sizes: list[int]) -> list[np.ndarray]:
    ends = np.cumsum(sizes)
    return [np.arange(end - size, end) for size, end in zip(sizes, ends, strict=True)]


@given(sizes=counts, batch=st.integers(1, 9), seed=st.integers(0, 3))
def test_every_file_comes_once_per_epoch_and_nothing_is_lost(sizes: list[int], batch: int, seed: int) -> None:
    plan = Plan(grouped(sizes), batch, (seed,))
    batches = [plan[number] for number in range(40)]
    for group, draws in batches:
        assert len(draws) == batch
        assert {draw.file for draw in draws} <= set(grouped(sizes)[group].tolist())
    for group, files in enumerate(grouped(sizes)):
        stream = [draw for chosen, draws in batches if chosen == group for draw in draws]
        # Epoch after epoch, each a permutation of the group.
        for epoch, start in enumerate(range(0, len(stream), len(files))):
            part = stream[start : start + len(files)]
            assert {draw.epoch for draw in part} == {epoch}
            assert len({draw.file for draw in part}) == len(part)
    # Groups take turns by their size: none falls behind by more than a batch and what is left of an epoch.
    drawn = Counter(draw.file for _, draws in batches for draw in draws)
    total, seen = sum(sizes), 40 * batch
    for group, files in enumerate(grouped(sizes)):
        mine = sum(drawn[int(file)] for file in files)
        assert abs(mine - seen * sizes[group] / total) <= (len(sizes) + 1) * batch + sizes[group]


@given(sizes=counts, batch=st.integers(1, 9), order=st.permutations(range(30)))
def test_any_batch_can_be_asked_for_at_any_time(sizes: list[int], batch: int, order: list[int]) -> None:
    straight = Plan(grouped(sizes), batch, (1,))
    expected = [straight[number] for number in range(30)]
    fresh = Plan(grouped(sizes), batch, (1,))
    assert all(fresh[number] == expected[number] for number in order)
    assert Plan(grouped(sizes), batch, (1,))[29] == expected[29]


def test_epochs_are_shuffled_anew_and_seeds_differ() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        plan = Plan([np.arange(20)], 5, (seed,))
        return [draw.file for number in range(4) for draw in plan[4 * epoch + number][1]]

    orders = [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(each) == list(range(20)) for each in orders)
    assert len({tuple(each) for each in orders}) == 4


@given(
    videos=st.integers(1, 7),
    share=st.integers(1, 4),
    world=st.integers(1, 3),
    every=st.sampled_from([0, 2, 3]),
    seed=st.integers(0, 2),
)
def test_exactly_once_per_epoch_over_ranks(
    footage: Path, videos: int, share: int, world: int, every: int, seed: int
) -> None:
    clips = share * world
    if clips > videos:
        return
    files = sorted(footage.rglob("*.mp4"))
    chosen = options(*files[:videos], image_every=every)
    ranks = [data(chosen, clips=clips, images=world, seed=seed, rank=rank, world=world) for rank in range(world)]
    for each in ranks:
        each._maker.reader.read = lambda *_, **__: np.zeros((1, 1, 1, 3), np.uint8)  # type: ignore[method-assign]
    steps = 3 * ranks[0].steps_per_epoch
    batches = [take(each, steps) for each in ranks]
    drawn = [key for step in range(steps) for rank in batches if rank[step].kind == "video" for key in rank[step].keys]
    for start in range(0, len(drawn) - videos + 1, videos):
        assert len(set(drawn[start : start + videos])) == videos
    assert len(drawn) >= 3 * videos


# Batches -----------------------------------------------------------------------------------------------------------


def test_a_batch(footage: Path) -> None:
    chosen = data(options(footage))
    batches = take(chosen, 8)
    assert [batch.kind for batch in batches] == ["video", "video", "video", "image"] * 2
    assert [batch.step for batch in batches] == list(range(8))
    assert [batch.epoch for batch in batches if batch.kind == "video"] == [0, 0, 0, 0, 1, 1]
    for batch in batches:
        frames = 5 if batch.kind == "video" else 1
        assert batch.pixels.shape == (2, 3, frames, 16, 16)
        assert batch.pixels.dtype == torch.uint8
        assert batch.pixels.is_contiguous()
        assert len(batch.keys) == 2
        assert batch.broken == []
        assert all(key.endswith(".mp4" if batch.kind == "video" else ".png") for key in batch.keys)
    # 7 videos in batches of 2 are 4 batches, and each three of them go with one of images.
    assert chosen.steps_per_epoch == 6


def test_clips_are_neighbouring_frames_of_their_file(footage: Path) -> None:
    starts = set()
    for batch in take(data(options(footage, reverse=0.0, image_every=0)), 30):
        for clip, key in zip(batch.pixels, batch.keys, strict=True):
            numbers = [samples.frame_number(frame.numpy()) for frame in clip.unbind(1)]
            assert numbers == list(range(numbers[0], numbers[0] + 5))
            starts.add((key, numbers[0]))
    assert len(starts) > 25
    backwards = take(data(options(footage, reverse=1.0, image_every=0)), 1)[0].pixels[0]
    numbers = [samples.frame_number(frame.numpy()) for frame in backwards.unbind(1)]
    assert numbers == list(range(numbers[0], numbers[0] - 5, -1))


@pytest.mark.parametrize("changes", [{}, {"buckets": ["1:1", "16:9"], "fps": 7.0, "strides": [1, 2]}])
def test_workers_make_no_difference(footage: Path, changes: dict[str, object]) -> None:
    runs = [take(data(options(footage, workers=workers, **changes)), 12) for workers in (0, 1, 2)]
    for batches in runs[1:]:
        assert all(same(ours, theirs) for ours, theirs in zip(batches, runs[0], strict=True))


@pytest.mark.parametrize("cache", [0, 1, 8])
def test_the_cache_makes_no_difference(footage: Path, cache: int) -> None:
    plain, cached = (take(data(options(footage, cache=size, fps=7.0)), 24) for size in (0, cache))
    assert all(same(ours, theirs) for ours, theirs in zip(plain, cached, strict=True))


def test_what_workers_run_can_be_sent_to_a_new_process(footage: Path) -> None:
    """As systems without fork do."""
    maker = data(options(footage, workers=2))._maker
    ours, theirs = maker[2], pickle.loads(pickle.dumps(maker))[2]
    assert same(ours.batch, theirs.batch)


def test_resuming_in_the_middle_of_an_epoch(footage: Path) -> None:
    whole = take(data(options(footage)), 14)
    for start in (1, 3, 6, 13):
        for workers in (0, 2):
            again = take(data(options(footage, workers=workers)), 14 - start, start)
            assert all(same(ours, theirs) for ours, theirs in zip(again, whole[start:], strict=True))


@pytest.mark.parametrize("changes", [{}, {"buckets": ["1:1", "2:1"]}])
def test_ranks_together_see_the_batch_of_one_process(footage: Path, changes: dict[str, object]) -> None:
    chosen = options(footage, **changes)
    whole = take(data(chosen, clips=4, images=2), 10)
    parts = [take(data(chosen, clips=4, images=2, rank=rank, world=2), 10) for rank in (0, 1)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert batch.keys == first.keys + second.keys
        assert torch.equal(batch.pixels, torch.cat((first.pixels, second.pixels)))
        assert batch.kind == first.kind == second.kind


def test_the_seed_and_the_first_step_change_everything(footage: Path) -> None:
    first = take(data(options(footage)), 3)
    for other in (take(data(options(footage), seed=1), 3), take(data(options(footage), start_step=100), 3, 100)):
        assert not any(torch.equal(a.pixels, b.pixels) for a, b in zip(first, other, strict=True))
    with pytest.raises(InputError, match="begins at step 100"):
        take(data(options(footage), start_step=100), 1, 99)


def test_drawing_data_leaves_the_random_numbers_of_the_run_alone(footage: Path) -> None:
    for workers in (0, 1):
        torch.manual_seed(3)
        expected = torch.rand(2)
        torch.manual_seed(3)
        take(data(options(footage, workers=workers)), 2)
        assert torch.equal(torch.rand(2), expected)


def test_images_alone_and_videos_alone(footage: Path) -> None:
    images = data(options(footage / "*.png", image_every=1))
    assert {batch.kind for batch in take(images, 6)} == {"image"}
    assert images.steps_per_epoch == 3
    assert {batch.kind for batch in take(data(options(footage / "*.png"), frames=1), 4)} == {"image"}
    frames = take(data(options(footage / "deep"), images=3), 4)[3]
    assert frames.kind == "image"
    assert frames.pixels.shape == (3, 3, 1, 16, 16)
    assert all(key.endswith(".mp4") for key in frames.keys)
    one = data(options(footage / "v0.mp4"), clips=1, images=6)  # to overfit to one clip
    assert [len(batch.keys) for batch in take(one, 4)] == [1, 1, 1, 6]
    assert len({clip.numpy().tobytes() for clip in take(one, 4)[3].pixels}) > 1
    assert {batch.kind for batch in take(data(options(footage, image_every=0)), 5)} == {"video"}


def test_buckets(tmp_path: Path) -> None:
    shapes = {"wide": (48, 24), "tall": (24, 48), "square": (32, 32)}
    for number in range(9):
        name = list(shapes)[number % 3]
        write_video(tmp_path / f"{name}{number}.mp4", 6, *shapes[name])
        write_picture(tmp_path / f"{name}{number}.png", 9, *shapes[name])
    chosen = options(tmp_path, buckets=["1:1", "2:1", "1:2"])
    expected = {"wide": (16, 32), "tall": (32, 16), "square": (24, 24)}
    seen = set()
    for batch in take(data(chosen, crop=24, clips=2, images=2), 20):
        (name,) = {Path(key).stem[:-1] for key in batch.keys}
        assert tuple(batch.pixels.shape[3:]) == expected[name]
        seen.add((name, batch.kind))
    assert len(seen) == 6
    assert bucket_sizes(["16:9", "9:16", "1:1", "4:3"], 256, 16) == [(192, 336), (336, 192), (256, 256), (224, 288)]
    with pytest.raises(ConfigError, match="16:9 and 5:3 both come to"):
        bucket_sizes(["16:9", "5:3"], 64, 16)
    with pytest.raises(ConfigError, match="multiple of 8"):
        data(chosen, crop=20)


# Clips -------------------------------------------------------------------------------------------------------------


@given(count=st.integers(1, 30), frames=st.integers(1, 12), strides=st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_frames_by_stride(count: int, frames: int, strides: list[int]) -> None:
    rng = np.random.default_rng(0)
    fitting = [stride for stride in strides if (frames - 1) * stride < count]
    seen = set()
    for _ in range(60):
        chosen = choose_frames(np.arange(count) / 10, frames, rng, fps=None, strides=strides)
        assert len(chosen) == frames
        assert 0 <= chosen.min() <= chosen.max() < count
        steps = set(np.diff(chosen).tolist())
        if fitting:
            assert len(steps) <= 1
            assert steps <= set(fitting)
            seen.add((int(chosen[0]), *steps))
        else:
            assert chosen.tolist() == np.minimum(np.arange(frames) * min(strides), count - 1).tolist()
    if len(fitting) == 1 and count - (frames - 1) * fitting[0] <= 6:
        assert len(seen) == count - (frames - 1) * fitting[0]  # every start is possible


@given(
    gaps=st.lists(st.floats(0.01, 0.2), min_size=0, max_size=25),
    frames=st.integers(1, 8),
    fps=st.floats(2, 60),
    stride=st.integers(1, 3),
)
def test_frames_by_time_are_the_nearest_ones(gaps: list[float], frames: int, fps: float, stride: int) -> None:
    times = np.concatenate(([0.0], np.cumsum(gaps)))
    for seed in range(5):
        chosen = choose_frames(times, frames, np.random.default_rng(seed), fps=fps, strides=[stride])
        assert (np.diff(chosen) >= 0).all()
        wanted = times[chosen[0]] + np.arange(frames) * stride / fps
        best = np.abs(times[None] - wanted[:, None]).min(axis=1)
        assert np.allclose(np.abs(times[chosen] - wanted), best)
        if (frames - 1) * stride / fps > times[-1] * (len(times) / max(1, len(times) - 1)):
            assert chosen[0] == 0


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    crop=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    resize=st.none() | st.integers(1, 200),
)
def test_scaled_sizes_hold_the_crop(width: int, height: int, crop: tuple[int, int], resize: int | None) -> None:
    w, h = scaled_size(width, height, crop, resize)
    assert w >= crop[1]
    assert h >= crop[0]
    if resize is None and width >= crop[1] and height >= crop[0]:
        assert (w, h) == (width, height)
    if resize is not None and min(w * 2, h * 2) > 2 * max(crop) + 2:
        assert abs(min(w, h) - resize) <= 1
    scale = max(w / width, h / height)
    assert abs(w - width * scale) <= 1 + scale or abs(h - height * scale) <= 1 + scale


def test_short_and_small_files_are_extended(tmp_path: Path) -> None:
    write_video(tmp_path / "short.mp4", 3, 16, 8)
    batch = take(data(options(tmp_path, reverse=0.0, image_every=0), clips=1, frames=6), 1)[0]
    numbers = [samples.frame_number(frame.numpy()) for frame in batch.pixels[0].unbind(1)]
    assert numbers == [0, 1, 2, 2, 2, 2]
    assert batch.pixels.shape[3:] == (16, 16)


def test_crops_and_flips_reach_everything(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = np.arange(6 * 8).reshape(1, 6, 8, 1)
    assert {int(random_crop(picture, (4, 5), rng)[0, 0, 0, 0]) for _ in range(200)} == {
        8 * y + x for y in range(3) for x in range(4)
    }
    ramp = np.broadcast_to(np.arange(32, dtype=np.uint8)[None, :, None] * 8, (24, 32, 3))
    Image.fromarray(np.ascontiguousarray(ramp)).save(tmp_path / "a.png")
    rising = Counter()
    for batch in take(data(options(tmp_path, image_every=1, flip=0.25), images=1), 200):
        row = batch.pixels[0, 0, 0, 0].int()
        rising[bool(row[-1] > row[0])] += 1
    assert 25 <= rising[False] <= 75


def test_resize_goes_by_the_short_side(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 4, 64, 32)
    chosen = options(tmp_path, resize=16, image_every=0)
    items = find_items(chosen.train)
    read: list[tuple[int, int]] = []
    reader = ClipReader(chosen, items, ClipCache(1, 0))
    inner = reader._frames

    def watched(number: int, count: int, numbers: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        read.append(size)
        return inner(number, count, numbers, size)

    reader._frames = watched  # type: ignore[method-assign]
    assert reader.read(0, 3, (16, 16), np.random.default_rng(0)).shape == (3, 16, 16, 3)
    assert read == [(32, 16)]


def test_the_cache_keeps_what_fits() -> None:
    cache = ClipCache(4, 1)
    clips = [np.random.default_rng(i).integers(0, 256, (2, 100, 100 + i, 3), dtype=np.uint8) for i in range(4)]
    assert not cache.has_room(2**20 // 8 + 1)
    for number, clip in enumerate(clips):
        assert cache.get(number) is None
        cache.put(number, clip)
    for number, clip in enumerate(clips):
        kept = cache.get(number)
        assert kept is not None
        assert np.array_equal(kept, clip)
    many = ClipCache(40, 1)
    for number in range(40):
        many.put(number, clips[0])
    assert sum(many.get(number) is not None for number in range(40)) == 2**20 // clips[0].nbytes
    assert ClipCache(1, 0).get(0) is None


def test_workers_share_the_cache(footage: Path) -> None:
    chosen = data(options(footage, workers=2, image_every=0))
    take(chosen, 16)
    cache = chosen._maker.reader._cache
    assert all(cache.get(number) is not None for number, item in enumerate(chosen.items) if item.kind == "video")


# Sources -----------------------------------------------------------------------------------------------------------


def names(*sources: Path | str, **settings: str) -> list[str]:
    return [Path(item.name or item.path).name for item in find_items([str(source) for source in sources], **settings)]


def test_sources(footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = sorted(path.name for path in footage.rglob("*.*"))
    assert sorted(names(footage)) == everything
    assert len(everything) == 12
    assert names(footage / "*.png") == [f"p{number}.png" for number in range(5)]
    assert names(footage / "**/v?.mp4") == ["v1.mp4", "v3.mp4", "v5.mp4", "v0.mp4", "v2.mp4", "v4.mp4", "v6.mp4"]
    assert names(footage / "p{1..3}.png") == ["p1.png", "p2.png", "p3.png"]
    assert names(footage / "{deep/v3,v2}.mp4", footage / "v2.mp4") == ["v3.mp4", "v2.mp4"]
    assert sorted(names(footage / "d*")) == ["v1.mp4", "v3.mp4", "v5.mp4"]
    (footage.parent / "picks.txt").write_text(f"# the good ones\n{footage.name}/p1.png\n\n  {footage.name}/deep\n")
    assert names(footage.parent / "picks.txt") == ["p1.png", "v1.mp4", "v3.mp4", "v5.mp4"]
    monkeypatch.chdir(footage)
    monkeypatch.setenv("HOME", str(footage))
    assert names("deep") == names("~/deep") == ["v1.mp4", "v3.mp4", "v5.mp4"]
    odd = tmp_path / "a{1..3}[x].png"
    write_picture(odd)
    assert names(odd) == [odd.name]
    Image.new("RGB", (8, 8)).save(tmp_path / "a.gif")
    assert {item.kind for item in find_items([str(tmp_path / "*.gif")])} == {"video"}


def pack(target: Path, folder: Path, *patterns: str) -> Path:
    with tarfile.open(target, "w") as archive:
        for number, path in enumerate(sorted(itertools.chain(*(folder.glob(pattern) for pattern in patterns)))):
            archive.add(path, f"../{number:03}{path.suffix}")  # a name that would lead out of any folder
            note = json.dumps({"source": path.name}).encode()
            member = tarfile.TarInfo(f"{number:03}.json")
            member.size = len(note)
            archive.addfile(member, io.BytesIO(note))
    return target


def test_shards_hold_what_their_files_hold(footage: Path, tmp_path: Path) -> None:
    for number, part in enumerate(("*.mp4", "deep/*.mp4", "*.png")):
        pack(tmp_path / f"part-{number:02}.tar", footage, part)
    shards = find_items([str(tmp_path / "part-{00..02}.tar")])
    files = find_items([str(footage / pattern) for pattern in ("*.mp4", "deep/*.mp4", "*.png")])
    assert [item.kind for item in shards] == [item.kind for item in files]
    assert shards[0].key == f"{tmp_path}/part-00.tar::../000.mp4"
    for ours, theirs in zip(shards, files, strict=True):
        with ours.file() as path:
            assert path.read_bytes() == theirs.path.read_bytes()
        assert not path.exists()
    packed = take(data(options(tmp_path / "part-*.tar", workers=1)), 6)
    plain = take(data(options(*(footage / pattern for pattern in ("*.mp4", "deep/*.mp4", "*.png")))), 6)
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(packed, plain, strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part-00.tar", "part-01.tar", "part-02.tar"]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path, list[str]]]:
    """Address, folder and log of the requests of a web server."""
    folder = tmp_path / "web"
    folder.mkdir()
    requests: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            requests.append(self.path)

        def do_GET(self) -> None:
            if "short" not in self.path:
                super().do_GET()
                return
            self.log_message()
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 400)

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(shard_module, "_RETRY_AFTER", (0.01,))
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}", folder, requests
        running.shutdown()


def test_shards_from_a_server(footage: Path, tmp_path: Path, server: tuple[str, Path, list[str]]) -> None:
    address, folder, requests = server
    for number, part in enumerate(("*.mp4", "*.png")):
        pack(folder / f"s-{number}.tar", footage, part)
    cache = tmp_path / "cache"
    for _ in range(2):  # the second time, nothing is fetched
        found = find_items([f"{address}/s-{{0..1}}.tar"], downloads=str(cache))
        assert len(found) == 9
        assert requests.count("/s-0.tar") == requests.count("/s-1.tar") == 1
    chosen = options(f"{address}/s-{{0..1}}.tar", downloads=str(cache))
    packed = take(data(chosen), 6)
    plain = take(data(options(folder / "s-{0..1}.tar")), 6)
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(packed, plain, strict=True))


def test_servers_that_fail(tmp_path: Path, server: tuple[str, Path, list[str]]) -> None:
    address, folder, requests = server
    cache = tmp_path / "cache"
    for url, reason, tries in (
        (f"{address}/none.tar", "404", 1),
        (f"{address}/short.tar", "400 of 1000 bytes", 2),
        ("http://127.0.0.1:9/a.tar", "refused", 0),
        ("https://nowhere.invalid/a.tar", "", 0),
    ):
        requests.clear()
        with pytest.raises(InputError, match=f"a.tar|none.tar|short.tar: cannot be fetched .*{reason}"):
            find_items([url], downloads=str(cache))
        assert len(requests) >= tries
    assert [path for path in cache.iterdir() if path.suffix == ".tar"] == []
    (folder / "file").write_text("")
    with pytest.raises(InputError, match="cannot hold fetched shards"):
        find_items([f"{address}/a.tar"], downloads=str(folder / "file"))
    with pytest.raises(InputError, match=r"address of a \.tar shard"):
        find_items([f"{address}/clips.zip"], downloads=str(cache))


# Broken files ------------------------------------------------------------------------------------------------------


def breakable(folder: Path, good: int, bad: int) -> Path:
    for number in range(good):
        write_video(folder / f"good{number}.mp4", 8)
    for number in range(bad):
        (folder / f"bad{number}.mp4").write_bytes(b"no video" * 40)
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_files_are_replaced_and_reported_once(tmp_path: Path, workers: int) -> None:
    breakable(tmp_path, 6, 2)
    chosen = options(tmp_path, max_broken=0.5, image_every=0, workers=workers)
    watched = data(chosen)
    batches = take(watched, 16)
    reports = [line for batch in batches for line in batch.broken]
    assert sorted(Path(line.split(":")[0]).name for line in reports) == ["bad0.mp4", "bad1.mp4"]
    assert all("not a video or image" in line and "\n" not in line for line in reports)
    assert set(watched.broken) == {str(tmp_path / f"bad{number}.mp4") for number in range(2)}
    assert all("good" in key for batch in batches for key in batch.keys)
    assert len(batches[0].keys) == 2
    again = take(data(replace(chosen, workers=0)), 10, 6)
    assert all(same(ours, theirs) for ours, theirs in zip(again, batches[6:], strict=True))


@pytest.mark.parametrize(
    ("share", "bad", "stops"), [(0.05, 1, False), (0.05, 2, True), (0.0, 1, True), (0.3, 2, False)]
)
def test_too_many_broken_files_end_the_run(tmp_path: Path, share: float, bad: int, stops: bool) -> None:
    chosen = options(breakable(tmp_path, 8 - bad, bad), max_broken=share, image_every=0)
    if stops:
        with pytest.raises(InputError, match=rf"{bad} of 8 files cannot be read.*bad0\.mp4.*--check-data"):
            take(data(chosen), 20)
    else:
        take(data(chosen), 20)


@pytest.mark.parametrize(("system", "context"), [("linux", "fork"), ("darwin", None)])
def test_workers_are_forked_on_linux_alone(footage, monkeypatch, system, context):
    """macOS's own libraries do not survive a fork."""
    asked = []
    chosen = data(options(footage, workers=1))

    def loader(*_, **options):
        asked.append(options)
        raise KeyboardInterrupt

    monkeypatch.setattr("cosmotok.training.data.loader.sys.platform", system)
    monkeypatch.setattr("cosmotok.training.data.loader.DataLoader", loader)
    with pytest.raises(KeyboardInterrupt):
        next(chosen.batches(0))
    assert [options["multiprocessing_context"] for options in asked] == [context]


def test_photos_in_front_of_others_do_not_spoil_them(tmp_path: Path) -> None:
    for number in range(7):
        write_picture(tmp_path / f"{number}.png", 30 * number)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    chosen = options(tmp_path, motion=MotionOptions(share=1.0, layers=4), image_every=0, max_broken=0.5)
    watched = data(chosen)
    take(watched, 12)
    assert set(watched.broken) == {str(tmp_path / "bad.png")}


def test_nothing_but_broken_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="20 files in a row cannot be read"):
        take(data(options(breakable(tmp_path, 0, 4), max_broken=1.0, image_every=0)), 1)


@pytest.mark.parametrize("cache", [0, 8])
def test_a_damaged_video_serves_where_it_is_whole(tmp_path: Path, cache: int) -> None:
    path = samples.encode(tmp_path / "a.mov", samples.numbered(16), "mjpeg", pix_fmt="yuvj420p")
    with av.open(str(path)) as source:
        position = [packet.pos for packet in source.demux(video=0)][12]
    content = bytearray(path.read_bytes())
    content[position : position + 600] = bytes(600)
    path.write_bytes(content)
    chosen = options(path, image_every=0, max_broken=1.0, cache=cache, reverse=0.0)
    with pytest.raises(InputError, match=r"20 files in a row.*damaged at frame 12"):
        take(data(chosen, frames=16, clips=1), 1)
    for batch in take(data(chosen, frames=3, clips=1), 8):
        numbers = [samples.frame_number(frame.numpy()) for frame in batch.pixels[0].unbind(1)]
        assert numbers == list(range(numbers[0], numbers[0] + 3))
        assert numbers[-1] < 12


# Workers that die --------------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_is_an_error_with_a_remedy(footage: Path) -> None:
    chosen = data(options(footage, workers=1))
    reader, main = chosen._maker.reader, os.getpid()
    inner = reader.read

    def read(number: int, *rest: object, **more: object) -> np.ndarray:
        if os.getpid() != main and number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(number, *rest, **more)  # type: ignore[arg-type]

    reader.read = read  # type: ignore[method-assign]
    before = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(CosmotokError, match=r"prepares data has died.*data\.workers=1"):
        take(chosen, 60)
    assert signal.getsignal(signal.SIGCHLD) is before


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
def test_workers_leave_the_garbage_of_the_run_alone(footage: Path, tmp_path: Path) -> None:
    """A decoder whose threads stayed in the run would keep a worker waiting for them for good."""
    chosen = data(options(footage, workers=1))
    reader, main = chosen._maker.reader, os.getpid()
    inner, collected = reader.read, tmp_path / "collected"

    class Decoder:
        def __del__(self) -> None:
            if os.getpid() != main:
                collected.touch()

    def read(*arguments: object, **more: object) -> np.ndarray:
        if os.getpid() != main:
            gc.collect()
        return inner(*arguments, **more)  # type: ignore[arg-type]

    reader.read = read  # type: ignore[method-assign]
    gc.disable()
    try:
        decoder = Decoder()
        decoder.itself = decoder  # type: ignore[attr-defined]
        del decoder
        take(chosen, 3)
    finally:
        gc.enable()
    assert not collected.exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_of_workers_keep_their_text(footage: Path, workers: int) -> None:
    chosen = data(options(footage, workers=workers))

    def read(*_: object, **__: object) -> np.ndarray:
        raise KeyError("surprise")

    chosen._maker.reader.read = read  # type: ignore[method-assign]
    with pytest.raises(CosmotokError, match="failed unexpectedly: KeyError: 'surprise'") as caught:
        take(chosen, 1)
    assert "\n" not in str(caught.value)
    assert "Traceback" in str(caught.value.__cause__)


# Bad input ---------------------------------------------------------------------------------------------------------


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "none": (lambda _: [], "expected folders, globs"),
    "empty name": (lambda _: [" "], "empty one"),
    "missing": (lambda folder: [folder / "footge"], "no such file or folder; did you mean footage"),
    "nothing in it": (lambda folder: [folder / "empty"], "no images or videos in this folder; expected"),
    "shards in it": (lambda folder: [folder / "shards"], r"for its shards, name .*\*\.tar"),
    "glob": (lambda folder: [folder / "*.mp5"], "nothing matches"),
    "text": (lambda folder: [folder / "footage/notes.md"], "expected a folder, an image, a video"),
    "list": (lambda folder: [folder / "list.txt"], r"3 of 5 lines are no use: line 2: .*gone1.png.*line 5: .*list.txt"),
    "empty list": (lambda folder: [folder / "empty.txt"], "names nothing"),
    "binary list": (lambda folder: [folder / "binary.lst"], "UTF-8"),
    "shard without media": (lambda folder: [folder / "shards/text.tar"], "no images or videos in this shard"),
    "no shard": (lambda folder: [folder / "shards/junk.tar"], "not a tar archive"),
    "cut shard": (lambda folder: [folder / "cut.tar"], "cut short inside 000.png|damaged one"),
    "compressed shard": (lambda folder: [folder / "packed.tar.gz"], "compressed with gzip"),
    "missing in a range": (lambda folder: [folder / "footage/p{0..2}.png"], "p2.png: no such file"),
    "falling range": (lambda folder: [folder / "p{9..2}.png"], "rising range"),
    "huge range": (lambda folder: [folder / "p{0..99999999}.png"], "at most 1,000,000"),
    "brace": (lambda folder: [folder / "p{x}.png"], "first..last"),
}


@pytest.fixture(scope="module")
def mess(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mess")
    for name in ("footage", "empty", "shards"):
        (folder / name).mkdir()
    for number in range(2):
        write_picture(folder / f"footage/p{number}.png")
    (folder / "footage/notes.md").write_text("notes")
    (folder / "list.txt").write_text("footage/p0.png\ngone1.png\nfootage/p1.png\ngone2.png\nlist.txt\n")
    (folder / "empty.txt").write_text("# nothing\n\n")
    (folder / "binary.lst").write_bytes(b"\xff\xfe\x00")
    pack(folder / "shards/text.tar", folder / "footage", "*.md")
    (folder / "shards/junk.tar").write_bytes(b"junk" * 400)
    whole = pack(folder / "whole.tar", folder / "footage", "*.png").read_bytes()
    (folder / "cut.tar").write_bytes(whole[:540])
    with tarfile.open(folder / "packed.tar.gz", "w:gz") as archive:
        archive.add(folder / "footage/p0.png", "p0.png")
    return folder


@pytest.mark.parametrize("case", BAD)
def test_bad_sources(mess: Path, case: str) -> None:
    sources, message = BAD[case]
    with pytest.raises(InputError, match=message) as caught:
        data(options(*sources(mess)))  # type: ignore[misc]
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_no_permission(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(InputError, match="no permission"):
        find_items([str(tmp_path / "closed")])


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({}, {"clips": 8}, "videos found: 7, for batches of 8; add videos, or set clips=7 or less"),
        ({}, {"images": 6}, "images found: 5, for batches of 6; add images, or set images=5 or less"),
        ({}, {"clips": 3, "world": 2}, "clips=3: cannot be divided by 2 processes"),
        ({}, {"images": 1, "world": 2}, "images=1: cannot be divided by 2 processes"),
        ({"train": ["*.png"]}, {}, "found 5 images alone; set data.motion.share=1"),
    ],
)
def test_data_that_does_not_fit(
    footage: Path, changes: dict[str, list[str]], settings: dict[str, int], message: str
) -> None:
    sources = [footage / name for name in changes.get("train", ["."])]
    with pytest.raises(InputError, match=message):
        data(options(*sources), **settings)


@pytest.mark.parametrize(
    "changes",
    [
        {"flip": 1.5},
        {"reverse": -0.1},
        {"max_broken": 2.0},
        {"image_every": -1},
        {"workers": -1},
        {"cache": -5},
        {"resize": 0},
        {"fps": 0.0},
        {"fps": float("nan")},
        {"strides": []},
        {"strides": [0]},
        {"buckets": ["wide"]},
        {"buckets": ["1:0"]},
        {"buckets": ["100:1"]},
    ],
)
def test_options_that_make_no_sense(changes: dict[str, object]) -> None:
    (name,) = changes
    with pytest.raises(ConfigError, match=rf"data\.{name}"):
        DataOptions(**changes)  # type: ignore[arg-type]


# The check ---------------------------------------------------------------------------------------------------------


def test_check_data(tmp_path: Path) -> None:
    train, validation = tmp_path / "train", tmp_path / "validation"
    for folder in (train, validation):
        folder.mkdir()
    write_video(train / "a.mp4", 12, 64, 36)
    write_video(train / "b.mp4", 18, 36, 64)
    write_picture(train / "c.png", width=40, height=40)
    (train / "d.png").write_bytes(b"junk")
    cut = write_video(train / "e.mkv", 12)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 3 // 4])
    write_picture(validation / "f.png")
    seen: list[tuple[int, int]] = []
    chosen = options(train, validation=[str(validation)], workers=2)
    report = check_data(chosen, lambda done, total: seen.append((done, total)))
    assert seen == [(number, 6) for number in range(1, 7)]
    facts = json.loads(json.dumps(report.to_dict()))["train"]
    assert (facts["files"], facts["videos"], facts["images"], facts["frames"]) == (5, 2, 1, 30)
    assert facts["seconds"] == pytest.approx(3.0)
    assert facts["clip_frames"] == {"least": 12, "median": 15, "most": 18}
    assert facts["short_sides"] == {"least": 36, "median": 36, "most": 40}
    assert facts["sizes"] == {"64x36": 1, "36x64": 1, "40x40": 1}
    assert facts["aspect_ratios"] == {"9:16": 1, "1:1": 1, "16:9": 1}
    assert facts["frame_rates"] == {"10": 2}
    assert sorted(Path(name).name for name in facts["broken"]) == ["d.png", "e.mkv"]
    assert report.to_dict()["validation"]["images"] == 1
    text = "\n".join(report.lines())
    assert "train: 5 files: 2 videos, 1 images, 2 unreadable" in text
    assert "cut short" in text
    assert "validation: 1 files" in text
    assert check_data(options(validation)).validation is None


def test_the_real_clips() -> None:
    folder = samples.real_clip("video.mp4").parents[1] / "train"
    chosen = data(options(folder, workers=1, cache=0), frames=9, crop=96, clips=4, images=4)
    assert len({item.kind for item in chosen.items}) == 2
    batches = take(chosen, 4)
    assert [tuple(batch.pixels.shape) for batch in batches] == [(4, 3, 9, 96, 96)] * 3 + [(4, 3, 1, 96, 96)]
    assert all(batch.pixels.float().std() > 5 for batch in batches)
