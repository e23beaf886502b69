"""`TokenDataset`: a data set of tokens to train on; `TokenBatches`: the same in batches of one shape."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from cosmotok.checkpoint.fingerprint import other_maker
from cosmotok.dataset.manifest import Manifest
from cosmotok.dataset.reading.order import Share
from cosmotok.dataset.reading.samples import Sample, Samples, collate, shape_of
from cosmotok.dataset.reading.shards import Row, Shards
from cosmotok.dataset.reading.streams import Epoch, RowStream
from cosmotok.errors import InputError
from cosmotok.foreign import one_line
from cosmotok.interface import BaseTokenizer
from cosmotok.normalization import denormalize_latents

__all__ = ["TokenBatches", "TokenDataset"]

State = dict[str, Any]


class TokenDataset(IterableDataset[Sample]):
    """The rows of a data set that `cosmotok tokenize` wrote: `dataset[number]` one of them, `len(dataset)` how many
    there are, `iter(dataset)` a stream of those that this process is to read.

    A row is a dict:

    - `tokens`: int64 indices (T', H', W'), or float32 latents (C, T', H', W');
    - `row`, its number in the data set; `key` and `segment`, which input and which piece of it, from 0;
    - `caption`, "" without one; `metadata`, a dict;
    - `size`, (T, H, W) of what was encoded, as `Tokenizer.decode` takes it; `original_size`, the input's (H, W);
    - `first_frame`, the number of its first frame in the input; `frame_rate`, frames per second, 0 of an image;
      `times`, (T,) float64, seconds in the input;
    - `signals`, by name: (T, ...) float32, a value for each frame; `latent_signals`: (T', temporal_factor, ...), the
      values of the frames that each latent frame stands for, with those repeated that the tokenizer repeats.

    Streams are for `DataLoader(dataset)` and torchdata's `StatefulDataLoader(dataset)`. Rows are shared out among ranks
    and the loader's workers; every row comes once in an epoch. With `shuffle`, shards come in an order of the epoch's,
    and each row is drawn from the next `buffer` ones. A state from the middle of an epoch, `state_dict()`, goes on
    there with the same rows in the same order.

    `torch.utils.data.Subset` and `random_split` make data sets of single rows of it, for samplers; a row that is asked
    for by itself costs the reading of its row group (up to 16 MB).

    Args:
        place: folder of the data set, or a URL that fsspec knows.
        shuffle, seed, buffer: the order of streams.
        normalized: latents of mean 0 and deviation 1, by the data set's statistics; `denormalize` is the way back.
        rank, world_size: which of how many processes this is; else as `torch.distributed` has it, once initialised.
        even: every worker of every rank gets equally many rows, so that no rank waits for another in vain; of each
            epoch fewer rows than there are workers are left out.

    Raises:
        InputError: where there is no data set, where it is incomplete, where a shard is missing or damaged, and for
            arguments out of range.
        SourceLostError: where a URL does not answer.
    """

    def __init__(
        self,
        place: str | os.PathLike[str],
        *,
        shuffle: bool = False,
        seed: int = 0,
        buffer: int = 1000,
        normalized: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
        even: bool = False,
    ) -> None:
        if type(buffer) is not int or buffer < 1:
            raise InputError(f"buffer: expected a number of rows from 1, got {buffer!r}")
        if type(seed) is not int:
            raise InputError(f"seed: expected a whole number, got {seed!r}")
        self.shuffle, self.seed, self.buffer, self.even = shuffle, seed, buffer, even
        self._shards = Shards(place)
        self._samples = Samples(self.manifest, self._shards.name, self._statistics() if normalized else None)
        self._rank = _checked_rank(rank, world_size)
        self._number = torch.zeros((), dtype=torch.int64).share_memory_()  # workers that live on see it change
        self._stream: RowStream | None = None
        self._epoch: Epoch | None = None
        self._resume: State | None = None

    @property
    def manifest(self) -> Manifest:
        """What the data set is: model, spec, counts, statistics of its latents."""
        return self._shards.manifest

    def _statistics(self) -> tuple[Sequence[float], Sequence[float]]:
        found = self.manifest.statistics
        if found is None:
            raise InputError(f"{self._shards.name}: holds indices, which cannot be normalised; leave out normalized")
        return found.mean, [deviation or 1.0 for deviation in found.std]

    def denormalize(self, latents: Tensor) -> Tensor:
        """Latents (B, C, T', H', W') of mean 0 and deviation 1, as `normalized` gives them, to those that decode."""
        return denormalize_latents(latents, *self._statistics())

    def check(self, tokenizer: BaseTokenizer) -> None:
        """Raises InputError unless `tokenizer` made these tokens."""
        maker, spec = self.manifest, tokenizer.spec
        wrong = other_maker(self._shards.name, maker.model, maker.fingerprint, spec.name, tokenizer.fingerprint)
        if wrong is not None:
            raise InputError(wrong)

    # Row by row --------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, number: int) -> Sample:
        rows = len(self)
        if not -rows <= number < rows:
            raise IndexError(f"row {number} of {self._shards.name}, which has {rows:,}")
        number %= rows
        return self._samples.make(number, self._shards.row(number))

    def __getitems__(self, numbers: Sequence[int]) -> list[Sample]:
        """Of loaders, which ask for a batch at once: in the order in which they lie, then as asked."""
        found = {number: self[number] for number in sorted(set(numbers))}
        return [found[number] for number in numbers]

    # As a stream -------------------------------------------------------------------------------------------------

    def set_epoch(self, epoch: int) -> None:
        """The next streams have the order of this epoch; before each, in every rank."""
        self._number.fill_(epoch)

    def batches(self, size: int, *, drop_last: bool = False) -> TokenBatches:
        """The stream in batches of `size` rows whose tokens have one shape; see `TokenBatches`."""
        return TokenBatches(self, size, drop_last)

    def __iter__(self) -> Iterator[Sample]:
        stream = self.start()
        return (self.sample(stream, place, row) for place, row in stream)

    def sample(self, stream: RowStream, place: int, row: Row) -> Sample:
        """Of a row at its place of a stream."""
        return self._samples.make(stream.number(place), row)

    def start(self) -> RowStream:
        """A stream of this process's rows, from where `load_state_dict` says, else from the epoch's beginning."""
        state, self._resume = self._resume, None
        if state is None:
            self._epoch = self._epoch_of(int(self._number))
            self._stream = RowStream(self._shards, self._epoch)
        else:
            self._epoch = epoch = self._epoch_of(state["epoch"])
            if state != (expected := self._state(epoch, state["taken"], state["waiting"])):
                raise InputError(_differences(state, expected))
            _check_places(state, len(epoch.share.of(len(self), epoch.even)))
            self._stream = RowStream(self._shards, self._epoch, state["taken"], state["waiting"])
        return self._stream

    def state_dict(self, waiting: Sequence[int] = ()) -> State:
        """Where the stream of this process is, as plain numbers and texts; torchdata's loader asks each worker.

        Args:
            waiting: places of rows that were taken and not used yet, as `TokenBatches` has them.
        """
        if self._resume is not None:
            return dict(self._resume)
        if self._stream is None or self._epoch is None:
            return self._state(self._epoch_of(int(self._number)), 0, ())
        return self._state(self._epoch, self._stream.taken, [*self._stream.again, *waiting])

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next stream goes on where `state` was taken; it has to be of the same data, order and workers.

        Raises:
            InputError: for what is no such state; one that differs is refused when the stream begins.
        """
        own = self._state(self._epoch_of(0), 0, ())
        _check_names(state, own)
        for name, value in own.items():
            if type(state[name]) is not type(value):
                raise _damaged(name, f"got {one_line(state[name], 40)}")
        self._resume = dict(state)

    def _epoch_of(self, number: int) -> Epoch:
        rank, world_size = self._ranks()
        worker = get_worker_info()
        share = Share(rank, world_size, *((worker.id, worker.num_workers) if worker else (0, 1)))
        return Epoch(number, self.shuffle, self.seed, self.buffer, self.even, share)

    def _state(self, epoch: Epoch, taken: int, waiting: Sequence[int]) -> State:
        share = asdict(epoch.share)
        order = {"shuffle": epoch.shuffle, "seed": epoch.seed, "buffer": epoch.buffer, "even": epoch.even}
        place = {"epoch": epoch.number, "taken": taken, "waiting": list(waiting)}
        return {"data": self._shards.fingerprint, **order, **share, **place}

    def _ranks(self) -> tuple[int, int]:
        if self._rank is not None:
            return self._rank
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1

    def __getstate__(self) -> dict[str, Any]:
        # a worker that is started anew knows nothing of torch.distributed; and no stream goes along
        return {**self.__dict__, "_rank": self._ranks(), "_stream": None, "_epoch": None}


class TokenBatches(IterableDataset[dict[str, Any]]):
    """Batches of a `TokenDataset`'s stream, each of tokens of one shape: for `DataLoader(batches, batch_size=None)`.

    A batch is made by `collate`: `tokens` are (B, T', H', W') or (B, C, T', H', W'). Rows wait until there are enough
    of their shape; those left at the end of an epoch make smaller batches, unless `drop_last` leaves them out. Where
    shapes differ, ranks have different numbers of batches. Epochs and states as in `TokenDataset`.

    Raises:
        InputError: for a size out of range.
    """

    def __init__(self, dataset: TokenDataset, size: int, drop_last: bool = False) -> None:
        if type(size) is not int or size < 1:
            raise InputError(f"size: expected a number of rows from 1, got {size!r}")
        self.dataset, self.size, self.drop_last = dataset, size, drop_last
        self._waiting: dict[tuple[int, int, int], list[tuple[int, Row]]] = {}

    def set_epoch(self, epoch: int) -> None:
        """As `TokenDataset.set_epoch`."""
        self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._waiting = {}
        return self._batches(self.dataset.start())

    def _batches(self, stream: RowStream) -> Iterator[dict[str, Any]]:
        for place, row in stream:
            rows = self._waiting.setdefault(shape_of(row), [])
            rows.append((place, row))
            if len(rows) == self.size:
                yield self._batch(stream, shape_of(row))
        while self._waiting and not self.drop_last:
            yield self._batch(stream, next(iter(self._waiting)))

    def _batch(self, stream: RowStream, shape: tuple[int, int, int]) -> dict[str, Any]:
        return collate([self.dataset.sample(stream, place, row) for place, row in self._waiting.pop(shape)])

    def state_dict(self) -> State:
        """As `TokenDataset.state_dict`, with the rows that wait for others of their shape."""
        waiting = [place for rows in self._waiting.values() for place, _ in rows]
        return {**self.dataset.state_dict(waiting), "size": self.size}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As `TokenDataset.load_state_dict`; also of batches of the same size."""
        _check_names(state, self.state_dict())
        rest = dict(state)
        if (size := rest.pop("size")) != self.size:
            raise InputError(f"state: of batches of {one_line(size)} rows, not of {self.size}")
        self.dataset.load_state_dict(rest)


def _checked_rank(rank: int | None, world_size: int | None) -> tuple[int, int] | None:
    if rank is None and world_size is None:
        return None
    if type(rank) is not int or type(world_size) is not int or not 0 <= rank < world_size:
        raise InputError(f"rank, world_size: expected a rank from 0 below the world size, got {rank!r}, {world_size!r}")
    return rank, world_size


def _check_names(state: object, own: State) -> None:
    if not isinstance(state, Mapping) or set(state) != set(own):
        raise InputError(f"state: expected what `state_dict` gave, with {', '.join(sorted(own))}")


def _check_places(state: State, rows: int) -> None:
    """Whether a state of this very stream, of so many rows, can be gone on from."""
    epoch, taken, waiting = state["epoch"], state["taken"], state["waiting"]
    if not -(2**63) <= epoch < 2**63:
        raise _damaged("epoch", f"got {one_line(epoch, 40)}")
    if not 0 <= taken <= rows:
        raise _damaged("taken", f"{one_line(taken, 40)} of {rows} rows")
    if not all(type(place) is int and 0 <= place < rows for place in waiting) or len(set(waiting)) < len(waiting):
        raise _damaged("waiting", f"got {one_line(waiting, 40)} for places among {rows} rows")


def _damaged(name: str, what: str) -> InputError:
    return InputError(
        f"state: {name} is not what `state_dict` gave ({what}); load another one, or begin the epoch anew"
    )


def _differences(state: State, expected: State) -> str:
    found = [
        f"{name}: {one_line(state[name])}, not {expected[name]}" for name in expected if state[name] != expected[name]
    ]
    return f"state: of another stream ({'; '.join(found)}); make the data set and its loader as they were"
