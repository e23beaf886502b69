"""The sound track of written videos: copied or encoded, in time with the pictures, in bounded memory."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import media_samples as samples
import numpy as np
import pytest
from written import names, write

from cosmotok.errors import MediaError
from cosmotok.media import VideoWriter, open_media, write_image


def film(path: Path, sound: str, seconds: float = 3, rate: int = 25) -> Path:
    frames = samples.numbered(1) * round(seconds * rate)
    return samples.encode(path, frames, rate=rate, sound=(sound, seconds))


def copy(source: Path, path: Path, frames: slice = slice(None)) -> None:
    with open_media(source, frames=frames) as reader:
        iterator = iter(reader)
        first = next(iterator)
        with VideoWriter(
            path,
            width=64,
            height=48,
            frame_rate=reader.info.frame_rate or 1,
            audio_from=source,
            audio_start=reader.start_time or 0,
        ) as writer:
            writer.write(*first)
            for frame in iterator:
                writer.write(*frame)


def pitch(samples_: np.ndarray, second: float) -> float:
    """Hz of the tone in the tenth of a second from `second` on."""
    block = samples_[round(second * 48_000) :][:4800]
    spectrum = np.abs(np.fft.rfft(block * np.hanning(len(block))))
    return float(spectrum.argmax() * 48_000 / len(block))


SOUNDS = [  # source, its sound codec, target, the sound codec expected there
    ("a.mp4", "aac", ".mp4", "aac"),
    ("a.mp4", "aac", ".mov", "aac"),
    ("a.mp4", "aac", ".mkv", "aac"),
    ("a.mp4", "aac", ".webm", "opus"),
    ("a.ts", "aac", ".mp4", "aac"),
    ("a.mkv", "pcm_s16le", ".mp4", "aac"),
    ("a.mkv", "pcm_s16le", ".mkv", "pcm_s16le"),
    ("a.mkv", "pcm_s16le", ".mov", "pcm_s16le"),
    ("a.mkv", "pcm_s16le", ".webm", "opus"),
    ("a.mkv", "libmp3lame", ".mp4", "mp3float"),
    ("a.mkv", "ac3", ".mp4", "ac3"),
    ("a.mkv", "flac", ".mp4", "flac"),
    ("a.mkv", "libopus", ".webm", "opus"),
    ("a.mkv", "libopus", ".mp4", "opus"),
    ("a.mkv", "vorbis", ".mp4", "aac"),
    ("a.mkv", "vorbis", ".webm", "vorbis"),
]


@pytest.mark.parametrize("part", [slice(None), slice(30, 60)], ids=["whole", "part"])
@pytest.mark.parametrize(("name", "codec", "suffix", "expected"), SOUNDS, ids=[f"{s[1]}-{s[2][1:]}" for s in SOUNDS])
def test_sound(tmp_path: Path, name: str, codec: str, suffix: str, expected: str, part: slice) -> None:
    source = film(tmp_path / name, codec)
    target = tmp_path / f"out{suffix}"
    copy(source, target, part)
    found = samples.streams_of(target)
    assert found["audio"]["codec"].removeprefix("lib") == expected
    start, length = (0.0, 3.0) if part == slice(None) else (1.2, 1.2)
    video = found["video"].get("duration", found["video"]["end"])
    audio = found["audio"].get("duration", found["audio"]["end"])
    assert float(video) == pytest.approx(length, abs=0.002)
    assert float(video) - 0.04 <= float(audio) <= float(video) + 0.04
    heard, first = samples.read_sound(target)
    assert abs(first) <= 0.1
    assert np.abs(heard).max() > 0.2
    for second in np.arange(0.15, length - 0.2, 0.25):
        at = start + second
        if 0.08 < at % 0.5 < 0.32:  # away from the steps of the tone
            assert pitch(heard, second - first) == pytest.approx(300 * (1 + int(at * 2)), abs=15)


@pytest.mark.parametrize(
    ("name", "codec", "target"),
    [("a.mp4", "aac", "b.mp4"), ("a.mkv", "libopus", "b.webm"), ("a.mp4", "libopus", "b.mkv")],
)
def test_copied_sound_is_the_same_packets(tmp_path: Path, name: str, codec: str, target: str) -> None:
    source = film(tmp_path / name, codec, seconds=1)
    copy(source, tmp_path / target)
    payloads = []
    for path in (source, tmp_path / target):
        with av.open(str(path)) as container:
            payloads.append([bytes(packet) for packet in container.demux(audio=0) if packet.size])
    original, copied = payloads
    assert 45 <= len(copied) <= len(original)
    start = original.index(copied[0])
    assert start <= (1 if codec == "aac" else 0)  # the first of AAC is all run-up
    assert copied == original[start : start + len(copied)]
    with open_media(tmp_path / target) as reader, av.open(str(tmp_path / target)) as container:
        assert container.streams.video[0].start_time in (0, None)
        assert len(list(reader)) == 25


def test_sound_is_interleaved(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", "ac3", seconds=8)
    copy(source, tmp_path / "b.mp4")
    found = samples.streams_of(tmp_path / "b.mp4")
    packets = sorted((pos, time, kind) for kind in found for pos, time in found[kind]["order"])
    latest = {"video": Fraction(0), "audio": Fraction(0)}
    for _, time, kind in packets:
        latest[kind] = time
        assert abs(latest["video"] - latest["audio"]) < 1.2


def test_sound_longer_and_shorter_than_the_video(tmp_path: Path) -> None:
    tone = samples.audio_only(tmp_path / "tone.wav", "pcm_s16le", seconds=1)
    for count in (10, 40):  # at 20 frames per second
        write(tmp_path / "b.mp4", samples.numbered(1) * count, rate=20, audio_from=tone)
        found = samples.streams_of(tmp_path / "b.mp4")
        assert float(found["video"]["duration"]) == pytest.approx(count / 20)
        assert float(found["audio"]["duration"]) == pytest.approx(min(1, count / 20), abs=0.05)


def test_late_sound_stays_late(tmp_path: Path) -> None:
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as output:
        video = output.add_stream("libx264", rate=10, width=64, height=48, pix_fmt="yuv420p")
        audio = output.add_stream("pcm_s16le", rate=48_000)
        audio.codec_context.layout = "stereo"
        for frame in samples.numbered(15):
            output.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(video.encode(None))
        for block in samples.tone_frames(0.5):
            block.pts += 48_000
            output.mux(audio.encode(block))
        output.mux(audio.encode(None))
    for suffix in (".mp4", ".mkv", ".webm"):
        copy(source, tmp_path / f"b{suffix}")
        heard, first = samples.read_sound(tmp_path / f"b{suffix}")
        onset = first + np.argmax(np.abs(heard) > 0.1) / 48_000
        assert onset == pytest.approx(1.0, abs=0.05)


def test_sources_without_sound(tmp_path: Path) -> None:
    silent = samples.encode(tmp_path / "silent.mp4", samples.numbered(2))
    picture = tmp_path / "a.webp"
    write_image(picture, samples.quadrants())
    for source in (silent, picture, tmp_path):
        write(tmp_path / "out.mp4", samples.numbered(2), audio_from=source)
        assert not open_media(tmp_path / "out.mp4").info.has_audio
    spoken = film(tmp_path / "a.mp4", "aac", seconds=0.4)
    write(tmp_path / "out.gif", samples.numbered(2), audio_from=spoken)
    assert not open_media(tmp_path / "out.gif").info.has_audio


def test_sound_sources_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("nothing")
    for name in ("no.mp4", "text.mp4"):
        with pytest.raises(MediaError, match=name):
            VideoWriter(tmp_path / "out.mp4", width=8, height=8, frame_rate=1, audio_from=tmp_path / name)
    assert names(tmp_path) == ["text.mp4"]


def test_real_clip_with_sound(tmp_path: Path) -> None:
    source = samples.real_clip("coffee_landscape.mp4")
    target = tmp_path / "out.mp4"
    with open_media(source, frames=slice(40, 70), size=(160, 90)) as reader:
        frames = list(reader)
        start = reader.start_time
    assert start == 40 * Fraction(1001, 30000)
    with VideoWriter(
        target, width=160, height=90, frame_rate=Fraction(30000, 1001), audio_from=source, audio_start=start
    ) as writer:
        for frame in frames:
            writer.write(*frame)
    found = samples.streams_of(target)
    assert float(found["video"]["duration"]) == pytest.approx(1.001)
    assert float(found["audio"]["duration"]) == pytest.approx(1.001, abs=1001 / 30000)
