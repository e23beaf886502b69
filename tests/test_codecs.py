"""Image and video codecs there and back: colours, sizes, order of frames, rates, processes."""

import io
import os
import signal
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_samples import QUADRANTS, corners, frame_number, numbered, quadrants
from PIL import Image, features
from test_baselines import psnr, source_of, waves

from cosmotok.baselines import CODECS, encoders, find_codec
from cosmotok.baselines.coding import ConstantCoder, EncoderStream, FrameSource, Job, without_sei
from cosmotok.baselines.images import IMAGE_CODECS, LoadedImageCodec
from cosmotok.baselines.rates import Setting
from cosmotok.baselines.videos import VIDEO_CODECS, close_all
from cosmotok.contestants import Source, Tally
from cosmotok.errors import MediaError, MissingExtraError

each_image_codec = pytest.mark.parametrize(
    "codec",
    [
        pytest.param(name, marks=pytest.mark.skipif(not codec.available, reason=f"{name} is not installed"))
        for name, codec in IMAGE_CODECS.items()
    ],
)
each_video_codec = pytest.mark.parametrize("codec", VIDEO_CODECS)


@pytest.fixture(scope="module")
def load():
    """Contestants by name, loaded once; video codecs share one process."""
    loaded, processes = {}, []

    def get(name):
        if name not in loaded:
            loaded[name] = find_codec(name).load("cpu")
            if name.partition("@")[0] in VIDEO_CODECS:
                loaded[name]._idle = processes
        return loaded[name]

    yield get
    close_all(processes)


def there_and_back(loaded, frames):
    """What comes back, and bits per pixel."""
    tally = Tally()
    result = list(loaded.reconstruct(iter(frames), source_of(frames), tally))
    assert [r.shape for r in result] == [f.shape for f in frames]
    assert all(r.dtype == np.uint8 for r in result)
    return result, tally.bits / source_of(frames).pixels


def noisy_waves(frames, height, width):
    """Waves with noise of brightness alone, which 4:2:0 can hold."""
    noise = np.random.default_rng(0).integers(-20, 20, (frames, height, width, 1))
    return list((np.stack(waves(frames, height, width)) + noise).clip(0, 255).astype(np.uint8))


# --- images ---


@each_image_codec
def test_good_pictures_come_back_good_and_in_their_colours(codec, load):
    picture = waves(1, 61, 83)[0]
    result, _ = there_and_back(load(f"{codec}@q95"), [picture])
    assert psnr([picture], result) > 42
    result, _ = there_and_back(load(f"{codec}@q95"), [quadrants()])
    assert np.abs(corners(result[0]) - QUADRANTS).max() <= 4


@each_image_codec
def test_better_pictures_are_larger(codec, load):
    (picture,) = noisy_waves(1, 96, 128)
    results = [there_and_back(load(f"{codec}@q{quality}"), [picture]) for quality in (5, 30, 60, 90)]
    rates = [rate for _, rate in results]
    assert rates == sorted(set(rates))
    assert psnr([picture], results[-1][0]) > psnr([picture], results[0][0]) + 3


@each_image_codec
@settings(max_examples=8)
@given(height=st.integers(1, 70), width=st.integers(1, 70), rate=st.sampled_from([0.5, 2.0, 8.0]))
def test_pictures_of_any_size_keep_to_the_rate(codec, load, height, width, rate):
    picture = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    _, spent = there_and_back(load(f"{codec}@{rate}bpp"), [picture])
    least = IMAGE_CODECS[codec].settings[0]
    assert spent <= rate or spent == there_and_back(load(f"{codec}@q{least}"), [picture])[1]


@pytest.mark.parametrize("rate", [0.3, 0.8, 1.5, 4.0])
def test_the_rate_is_matched_as_well_as_the_codec_can(load, rate):
    (picture,) = noisy_waves(1, 120, 160)
    sizes = []
    for quality in range(1, 101):  # with Pillow itself
        data = io.BytesIO()
        options = {"subsampling": "4:2:0", "progressive": True, "optimize": True}
        Image.fromarray(picture).save(data, "JPEG", quality=quality, **options)
        sizes.append(len(data.getvalue()) * 8 / (120 * 160))
    _, spent = there_and_back(load(f"jpeg@{rate}bpp"), [picture])
    assert spent == max((size for size in sizes if size <= rate), default=min(sizes))


def test_pictures_of_a_clip_count_together(load):
    frames = waves(3, 32, 32)
    alone = [there_and_back(load("jpeg@q50"), [frame]) for frame in frames]
    together, rate = there_and_back(load("jpeg@q50"), frames)
    assert rate == pytest.approx(np.mean([r for _, r in alone]))
    assert all(np.array_equal(one, other[0]) for one, (other, _) in zip(together, alone, strict=True))


def test_an_image_codec_that_is_missing_says_what_is_there(monkeypatch):
    real = features.check
    monkeypatch.setattr(features, "check", lambda name: name != "avif" and real(name))
    with pytest.raises(MissingExtraError, match="avif: this Pillow has it not, but jpeg, webp"):
        find_codec("avif@q50").load("cpu")


def test_jpeg_xl_needs_a_plugin(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    with pytest.raises(MissingExtraError, match="pip install pillow-jxl-plugin"):
        find_codec("jxl@q50").load("cpu")


def test_a_picture_too_large_for_its_format_is_an_error_of_one_line():
    picture = np.zeros((1, 17000, 3), np.uint8)  # WebP ends at 16383
    loaded = LoadedImageCodec(IMAGE_CODECS["webp"], Setting("q", 50))
    with pytest.raises(MediaError, match="webp: cannot encode a picture of 17000x1"):
        list(loaded.reconstruct([picture], Source("image", 1, 1, 17000), Tally()))


# --- videos ---


@each_video_codec
def test_at_its_best_a_codec_returns_smooth_clips_of_odd_size(codec, load):
    frames = waves(12, 67, 91)
    best = VIDEO_CODECS[codec].settings[0]
    result, _ = there_and_back(load(f"{codec}@crf{best}"), frames)
    assert psnr(frames, result) > 40
    assert min(psnr([a], [b]) for a, b in zip(frames, result, strict=True)) > 39


@each_video_codec
def test_colours_and_the_order_of_frames_are_kept(codec, load):
    best = VIDEO_CODECS[codec].settings[0]
    still, _ = there_and_back(load(f"{codec}@crf{best}"), [quadrants()] * 4)
    assert all(np.abs(corners(frame) - QUADRANTS).max() <= 4 for frame in still)
    result, _ = there_and_back(load(f"{codec}@crf{best}"), numbered(18, 65, 49))
    assert [frame_number(frame) for frame in result] == list(range(18))


@each_video_codec
def test_better_clips_are_larger(codec, load):
    frames = noisy_waves(6, 64, 64)
    results = [there_and_back(load(f"{codec}@crf{crf}"), frames) for crf in (50, 30, 10)]
    rates = [rate for _, rate in results]
    assert rates == sorted(set(rates))
    quality = [psnr(frames, result) for result, _ in results]
    assert quality == sorted(quality)


@each_video_codec
def test_clips_keep_to_the_rate_and_come_near_it(codec, load):
    frames = noisy_waves(9, 96, 64)
    best, least = (there_and_back(load(f"{codec}@crf{crf}"), frames)[1] for crf in VIDEO_CODECS[codec].settings)
    for rate in (0.3, 2.0):
        _, spent = there_and_back(load(f"{codec}@{rate}bpp"), frames)
        assert min(0.6 * rate, best) <= spent <= rate  # some settings are far from the next, on so small a clip
    assert there_and_back(load(f"{codec}@1e-5bpp"), frames)[1] == least  # nothing is within that


@settings(max_examples=12)
@given(st.integers(1, 70), st.integers(1, 90), st.integers(1, 90))
def test_clips_of_any_length_and_size(load, frames, height, width):
    clip = waves(frames, height, width)
    result, rate = there_and_back(load("h264@crf5"), clip)
    assert psnr(clip, result) > 33
    assert rate > 0


@pytest.mark.parametrize("codec", ["hevc", "vp9", "av1"])
@pytest.mark.parametrize("frames", [1, 2, 35])
def test_short_and_long_clips_of_other_codecs(load, codec, frames):
    clip = waves(frames, 40, 33)
    result, _ = there_and_back(load(f"{codec}@crf20"), clip)
    assert psnr(clip, result) > 33


def test_no_frames_give_no_frames(load):
    for name in ("h264@crf20", "h264@0.1bpp", "jpeg@q50"):
        assert list(load(name).reconstruct([], Source("video", 0, 64, 64, 24.0), Tally())) == []


def test_at_a_constant_quality_frames_come_back_while_others_go_in(load):
    taken = furthest = 0

    def counted():
        nonlocal taken
        for frame in numbered(18) * 20:
            taken += 1
            yield frame

    count = 0
    for count, _ in enumerate(
        load("h264@crf30").reconstruct(counted(), Source("video", 360, 48, 64, 24.0), Tally()), 1
    ):
        furthest = max(furthest, taken - count)
    assert count == 360
    assert furthest < 100


@each_video_codec
def test_a_codec_leaves_scheduling_alone_and_keeps_one_process(codec, load):
    loaded = load(f"{codec}@crf40")
    for _ in range(3):
        there_and_back(loaded, waves(3, 64, 64))
    (process,) = loaded._idle
    if hasattr(os, "sched_getscheduler"):
        assert os.sched_getscheduler(process._process.pid) == os.SCHED_OTHER


def test_clips_at_the_same_time_do_not_mix(load):
    loaded = load("h264@crf10")
    clips = [waves(30, 64, 64, seed=1), waves(30, 64, 64, seed=2)]
    runs = [loaded.reconstruct(iter(clip), source_of(clip), Tally()) for clip in clips]
    results = list(zip(*runs, strict=True))
    for clip, result in zip(clips, zip(*results, strict=True), strict=True):
        assert psnr(clip, result) > 35


@pytest.mark.parametrize("name", ["h264@crf30", "av1@0.5bpp", "jpeg@q50"])
def test_the_tally_is_complete_with_the_last_frame(load, name):
    frames, tally = waves(5, 64, 64), Tally()
    returning = load(name).reconstruct(iter(frames), source_of(frames), tally)
    for _ in frames:
        next(returning)
    assert tally.bits == there_and_back(load(name), frames)[1] * source_of(frames).pixels


def test_who_stops_early_leaves_no_process_and_nothing_behind():
    loaded = find_codec("h264@crf30").load("cpu")
    clip = numbered(18) * 10
    going = loaded.reconstruct(iter(clip), source_of(clip), Tally())
    next(going)
    children = running_children()
    going.close()
    assert len(running_children()) == len(children) - 1
    assert len(list(loaded.reconstruct(iter(clip), source_of(clip), Tally()))) == len(clip)
    del loaded
    assert len(running_children()) == len(children) - 1


def running_children():
    import psutil

    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


def test_a_process_that_dies_is_an_error_of_one_line(load):
    loaded = find_codec("h264@crf30").load("cpu")
    there_and_back(loaded, waves(2, 64, 64))
    (process,) = loaded._idle
    os.kill(process._process.pid, signal.SIGKILL)
    time.sleep(0.1)
    with pytest.raises(MediaError, match="ended with exit code -9, most likely out of memory"):
        there_and_back(loaded, waves(2, 64, 64))
    there_and_back(loaded, waves(2, 64, 64))  # the next clip gets a new one


def test_what_an_encoder_refuses_is_an_error_of_one_line(load):
    source = Source("video", 1, 40_000, 2, 24.0)  # VP9's and x264's limits are below
    with pytest.raises(MediaError, match="libx264: cannot code a clip of 2x40000") as caught:
        list(load("h264@crf30").reconstruct([np.zeros((40_000, 2, 3), np.uint8)], source, Tally()))
    assert "\n" not in str(caught.value)


def test_an_error_of_the_source_comes_through(load):
    def broken():
        yield waves(1, 64, 64)[0]
        raise MediaError("clip.mp4: cut short")

    with pytest.raises(MediaError, match=r"clip\.mp4: cut short"):
        list(load("h264@crf30").reconstruct(broken(), Source("video", 9, 64, 64, 24.0), Tally()))


def test_a_video_codec_that_is_missing_says_what_is_there(monkeypatch):
    real = encoders.is_there
    monkeypatch.setattr(encoders, "is_there", lambda name, mode: name != "libsvtav1" and real(name, mode))
    if real("libaom-av1", "w"):
        assert encoders.encoder_of("av1").name == "libaom-av1"
        return
    with pytest.raises(MissingExtraError, match=r"neither libsvtav1 nor libaom-av1, but h264 \(libx264\)"):
        find_codec("av1@crf30").load("cpu")
    assert "SVT-AV1" in find_codec("av1@crf30").traits.note


def test_x264_does_not_count_its_signature():
    job = Job(encoders.encoder_of("h264"), Setting("crf", 30), 64, 64, 24.0)
    stream, frame = EncoderStream(job, 30), FrameSource(job)(waves(1, 64, 64)[0])
    packets = stream(frame) + stream(None)
    assert b"x264" not in b"".join(packets)
    coder = ConstantCoder(job)
    list(coder.push(waves(1, 64, 64)[0]))
    assert len(list(coder.finish())) == 1
    assert coder.bits == 8 * sum(len(packet) for packet in packets)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([1, 5, 6, 7, 8]), st.binary(max_size=9)), max_size=6))
def test_only_supplemental_units_are_left_out(units):
    def joined(chosen):
        return b"".join(
            (b"\0\0\0\1" if long else b"\0\0\1") + bytes([kind | 0x60]) + data.replace(b"\0", b"\2")
            for long, kind, data in chosen
        )

    assert without_sei(joined(units)) == joined([unit for unit in units if unit[1] != 6])


def test_every_codec_is_either_of_images_or_of_clips():
    assert set(CODECS) == {"jpeg", "webp", "avif", "jxl", "h264", "hevc", "vp9", "av1"}
    for name, codec in CODECS.items():
        traits = find_codec(f"{name}@1bpp").traits
        assert (traits.image, traits.video) == (codec.unit == "q", codec.unit == "crf")
        assert traits.streaming == traits.image
        assert find_codec(f"{name}@{codec.unit}30").traits.streaming
