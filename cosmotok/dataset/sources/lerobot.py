"""LeRobot data sets, versions 2 and 3: episodes seen by several cameras, with what the robot felt and did.

Read by their format, without the `lerobot` package. See https://github.com/huggingface/lerobot.
"""

from __future__ import annotations

import contextlib
import math
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosmotok.dataset.sources.base import Entry, Opened, Source, in_batches
from cosmotok.dataset.sources.jsontext import json_of, parsed
from cosmotok.dataset.sources.kept import kept
from cosmotok.dataset.sources.names import from_address, joined, key_of, label_of, normal, to_address
from cosmotok.dataset.sources.places import Found, place_of
from cosmotok.errors import CosmotokError, InputError, MediaError
from cosmotok.foreign import one_line, whole_number
from cosmotok.media.index import packet_index

__all__ = ["EPISODES", "INFO", "Robots", "find_robots"]

INFO = "meta/info.json"
"""What makes a folder a LeRobot data set."""
EPISODES = "meta/episodes"
OWN = {"timestamp", "frame_index", "episode_index", "index", "task_index"}
"""Features that are LeRobot's bookkeeping."""
NUMBERS = {"float16", "float32", "float64", "bool"}
LONGEST = 1 << 25
"""Bytes of info.json."""
MOST = 1 << 20
"""Numbers per frame of a signal."""
PARTS = ("chunk_index", "file_index")
FIELD = re.compile(r"\{(\w+)(?::0(\d)d)?\}", re.ASCII)


class Episode(NamedTuple):
    """Where an episode is, for one camera."""

    number: int
    length: int
    """Frames."""
    first: int
    """Frame of the video."""
    video: str
    data: str
    """Paths below the data set's folder."""
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Robots(Source):
    """A LeRobot data set; an input is what one camera saw of an episode.

    Its signals are all features of floating-point numbers, such as action and observation.state, and of truth values,
    such as next.done, as 0 and 1. Captions are the tasks.
    """

    name: str
    """As the user had it."""
    path: str
    """The folder, absolute; or a URL."""
    version: int
    rate: float
    cameras: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    videos: str
    data: str
    """Patterns of paths."""
    chunk: int
    """Episodes per folder, in version 2."""
    robot: str | None

    @property
    def signals(self) -> Mapping[str, tuple[int, ...]]:
        return self.shapes

    def entries(self) -> Iterator[pa.RecordBatch]:
        label = key_of(normal(label_of(self.name)))
        files = self._files()
        empty = True
        for batch in in_batches(self._entry(label, *each, files) for each in self._episodes()):
            empty = False
            yield batch
        if empty:
            raise InputError(f"{self.name}: a LeRobot data set without episodes")

    @contextlib.contextmanager
    def open(self, key: str, address: str) -> Iterator[Opened]:
        path, inside = from_address(address)
        number, first, length, data = (inside or "").split(" ", 3)
        frames = slice(int(first), int(first) + int(length))
        signals = self._signals(key, data, int(number), int(length))
        with kept(path) as local:
            if int(first):
                packet_index(local)  # all of it, once for all episodes of the file
            yield Opened(local, frames, signals)

    def _files(self) -> dict[str, Found]:
        """What there is of videos and data, by path."""
        place = place_of(self.path)
        found: dict[str, Found] = {}
        for folder in {pattern.split("/", 1)[0] for pattern in (self.videos, self.data)}:
            below = self.path if "{" in folder else joined(self.path, folder)
            if place.kind(below) == "folder":
                found |= {
                    each.path: each for each in place.find(below, lambda name: name.endswith((".mp4", ".parquet")))
                }
        return found

    def _entry(self, label: str, camera: str, episode: Episode, share: float, files: Mapping[str, Found]) -> Entry:
        video, data = (joined(self.path, name) for name in (episode.video, episode.data))
        seen, told = files.get(video), files.get(data)
        stamp = "missing" if seen is None else seen.stamp
        stamp += f"@{episode.first}+{episode.length}/" + ("missing" if told is None else told.stamp)
        metadata = {
            "caption": "; ".join(episode.tasks),
            "episode": episode.number,
            "camera": camera,
            "robot": self.robot,
        }
        inside = f"{episode.number} {episode.first} {episode.length} {episode.data}"
        return Entry(
            f"{label}::episode-{episode.number:06}::{camera}",
            stamp,
            to_address(video, inside),
            0 if seen is None else math.ceil(seen.bytes * share),
            json_of({name: value for name, value in metadata.items() if value not in (None, "")}),
        )

    def _episodes(self) -> Iterator[tuple[str, Episode, float]]:
        """Camera, episode, and the part that it is of its video."""
        rows = self._listed() if self.version == 2 else self._tabled()
        found = [(camera, self._episode(row, where, camera)) for row, where in rows for camera in self.cameras]
        lengths: dict[str, int] = {}
        for _, episode in found:
            lengths[episode.video] = lengths.get(episode.video, 0) + episode.length
        found.sort(key=lambda each: each[1].number)  # stable: cameras stay in their order
        for camera, episode in found:
            yield camera, episode, episode.length / lengths[episode.video]

    def _listed(self) -> Iterator[tuple[dict[str, Any], str]]:
        path = f"{EPISODES}.jsonl"
        with self._reading(path) as file:
            for number, line in enumerate(file, 1):
                where = f"{self.name}/{path}, line {number}"
                if line.strip():
                    try:
                        yield dict(parsed(line)), where
                    except (ValueError, TypeError) as error:
                        raise InputError(f"{where}: no JSON object ({one_line(error, 120)})") from None

    def _tabled(self) -> Iterator[tuple[dict[str, Any], str]]:
        folder = joined(self.path, EPISODES)
        for found in place_of(folder).find(folder, lambda name: name.endswith(".parquet")):
            path = found.path[len(joined(self.path, "")) :]
            with self._reading(path) as file:
                table = pq.ParquetFile(file)
                # Statistics of every feature are columns too, and most of the file.
                names = [name for name in table.schema_arrow.names if not name.startswith("stats/")]
                for number, row in enumerate(table.read(names).to_pylist(), 1):
                    yield row, f"{self.name}/{path}, row {number}"

    @contextlib.contextmanager
    def _reading(self, path: str) -> Iterator[IO[bytes]]:
        try:
            with place_of(self.path).reading(joined(self.path, path)) as file:
                yield file
        except MediaError as error:
            raise InputError(str(error)) from None
        except CosmotokError:
            raise
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise InputError(f"{self.name}/{path}: damaged ({one_line(error, 160)}); fetch or make it again") from None

    def _episode(self, row: Mapping[str, Any], where: str, camera: str) -> Episode:
        try:
            number = whole_number("episode_index", row["episode_index"], 0, 10**9)
            length = whole_number("length", row["length"], 1, 10**9)
            tasks = row.get("tasks") or ()
            tasks = tuple(str(task) for task in ([tasks] if isinstance(tasks, str) else tasks))
            facts = {"episode_index": number, "episode_chunk": number // self.chunk, "video_key": camera}
            if self.version == 2:
                return Episode(number, length, 0, _path(self.videos, facts), _path(self.data, facts), tasks)
            about = f"videos/{camera}/"
            video, data = (
                facts
                | {name: whole_number(name, row[start + name], 0, 10**9) for name in ("chunk_index", "file_index")}
                for start in (about, "data/")
            )
            first = whole_number("from_timestamp", round(row[f"{about}from_timestamp"] * self.rate), 0, 10**9)
            return Episode(number, length, first, _path(self.videos, video), _path(self.data, data), tasks)
        except (ValueError, TypeError, OverflowError) as error:
            raise InputError(f"{where}: {one_line(error, 160)}") from None
        except KeyError as error:
            raise InputError(f"{where}: lacks {one_line(error)}") from None

    def _signals(self, key: str, path: str, number: int, length: int) -> dict[str, np.ndarray]:
        """Of an episode, (length, ...) each."""
        if not self.shapes:
            return {}
        try:
            with place_of(self.path).reading(joined(self.path, path)) as file:
                table = pq.ParquetFile(file)
                groups = [index for index in range(table.num_row_groups) if _may_have(table, index, number)]
                rows = table.read_row_groups(groups, ["episode_index", "frame_index", *self.shapes])
            rows = rows.filter(pc.equal(rows["episode_index"], number)).sort_by("frame_index")
            if rows.num_rows != length:
                raise MediaError(f"{key}: {length} frames, but {rows.num_rows} rows of signals in {path}")
            return {name: _numbers(rows[name], (length, *shape)) for name, shape in self.shapes.items()}
        except CosmotokError:
            raise
        except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
            raise MediaError(f"{key}: its signals in {path} cannot be read ({one_line(error, 160)})") from None


def find_robots(name: str, path: str) -> Robots:
    """The LeRobot data set in the folder at `path`.

    Raises:
        InputError: where it is of another version, has no videos, or is damaged.
    """
    where = f"{name}/{INFO}"
    try:
        with place_of(path).reading(joined(path, INFO)) as file:
            content = file.read(LONGEST + 1)
        if len(content) > LONGEST:
            raise ValueError(f"more than {LONGEST:,} bytes")
        info = parsed(content)
        version = str(info["codebase_version"])
        if not version.startswith(("v2.", "v3.")):
            raise InputError(
                f"{where}: version {one_line(version, 20)} of LeRobot's format; expected v2.0, v2.1 or v3.0"
            )
        features = dict(info["features"])
        cameras = tuple(name for name, facts in features.items() if facts["dtype"] == "video")
        if not cameras:
            raise InputError(f"{where}: no camera with videos among {one_line(', '.join(features), 160)}")
        rate = float(info["fps"])
        if not 0 < rate <= 1000:
            raise ValueError(f"fps: expected a number from 0 to 1000, got {rate}")
        return Robots(
            name,
            path,
            int(version[1]),
            rate,
            cameras,
            {
                name: _shape(name, facts["shape"])
                for name, facts in features.items()
                if facts["dtype"] in NUMBERS and name not in OWN
            },
            _pattern(info, "video_path", cameras[0]),
            _pattern(info, "data_path", cameras[0]),
            whole_number("chunks_size", info.get("chunks_size", 1000), 1, 10**9),
            None if info.get("robot_type") is None else str(info["robot_type"]),
        )
    except KeyError as error:
        raise InputError(f"{where}: lacks {one_line(error)}") from None
    except MediaError as error:
        raise InputError(str(error)) from None
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        if isinstance(error, CosmotokError):
            raise
        raise InputError(f"{where}: no LeRobot data set, or damaged ({one_line(error, 160)})") from None


def _shape(name: str, values: Iterable[Any]) -> tuple[int, ...]:
    shape = tuple(whole_number(f"shape of {one_line(name)}", value, 1, MOST) for value in values)
    if math.prod(shape) > MOST:
        raise ValueError(f"shape of {one_line(name)}: more than {MOST:,} numbers")
    return shape


def _pattern(info: Mapping[str, Any], name: str, camera: str) -> str:
    """A pattern for `_path`, tried once."""
    pattern = info[name]
    if not isinstance(pattern, str):
        raise ValueError(f"{name}: expected a pattern of paths, got {one_line(pattern, 40)}")
    _path(pattern, dict.fromkeys(("episode_index", "episode_chunk", *PARTS), 0) | {"video_key": camera})
    return pattern


def _path(pattern: str, facts: Mapping[str, Any]) -> str:
    """A path below the data set's folder, by a pattern such as "data/chunk-{chunk_index:03d}/...": names and digits of
    numbers, and nothing else that Python's formatting could do.

    Raises:
        ValueError: where it would lead out of the folder.
    """

    def value(match: re.Match[str]) -> str:
        given = facts[match[1]]
        return f"{given:0{match[2]}d}" if match[2] else str(given)

    path = FIELD.sub(value, pattern)
    short = posixpath.normpath(path)
    if short.startswith(("/", "../")) or short in ("..", ".") or "://" in path or "\0" in path or "{" in path:
        raise ValueError(f"{one_line(pattern)} leads out of the folder, or nowhere")
    return short


def _may_have(table: pq.ParquetFile, group: int, episode: int) -> bool:
    """Whether rows of an episode may be in a group of rows, as far as its statistics tell."""
    about = table.metadata.row_group(group)
    for index in range(about.num_columns):
        column = about.column(index)
        if column.path_in_schema == "episode_index" and column.is_stats_set and column.statistics.has_min_max:
            return bool(column.statistics.min <= episode <= column.statistics.max)
    return True


def _numbers(column: pa.ChunkedArray, shape: tuple[int, ...]) -> np.ndarray:
    values: Any = column.combine_chunks()
    if values.null_count:
        raise ValueError("rows without a value")
    while pa.types.is_nested(values.type):
        # Rows of other lengths may add up to as many numbers, which would then be those of other frames.
        if len(pc.unique(pc.list_value_length(values))) > 1:
            raise ValueError("rows of different lengths")
        values = values.flatten()
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float32).reshape(shape)
