"""`TokenDataset`: every row as it was stored, each once, in an order that can be taken up again."""

from __future__ import annotations

import json
import pickle
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from token_sets import CONTINUOUS, DISCRETE, MEAN, STD, tokens_of, write_set
from torch.utils.data import DataLoader, Subset, random_split
from torchdata.stateful_dataloader import StatefulDataLoader

from cosmotok import Tokenizer
from cosmotok.dataset import TokenDataset, collate
from cosmotok.dataset.manifest import Manifest
from cosmotok.dataset.reading.order import Mixer, Share, shuffled
from cosmotok.dataset.reading.samples import frames_of_latents
from cosmotok.dataset.storage import LocalStorage
from cosmotok.errors import InputError

SIZES = ((5, 16, 24), (1, 16, 16), (9, 24, 16))
SHARDS = [7, 1, 12, 3, 9]


@pytest.fixture(scope="module")
def indices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("made") / "indices", SHARDS, sizes=SIZES)


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("made") / "latents", [5, 4], spec=CONTINUOUS, signals=True)


def numbers(rows: object) -> list[int]:
    return [row["row"] for row in rows]  # type: ignore[attr-defined]


# Rows --------------------------------------------------------------------------------------------------------------


def test_rows_are_as_they_were_stored(indices: Path) -> None:
    dataset = TokenDataset(indices)
    assert len(dataset) == sum(SHARDS)
    for number in [*range(len(dataset)), -1]:
        row, stored = dataset[number], number % len(dataset)
        frames, height, width = SIZES[stored % 3]
        assert row["tokens"].dtype == torch.int64
        assert torch.equal(row["tokens"].int(), tokens_of(stored, DISCRETE, frames, height, width))
        assert row["row"] == stored and row["key"] == f"clip-{stored}" and row["metadata"] == {"number": stored}
        assert row["caption"] == (f"clip {stored}" if stored % 3 else "")
        assert row["size"] == (frames, height, width) and row["original_size"] == (2 * height, 2 * width)
    assert dataset[0]["times"].tolist() == [0.5 + number / 8 for number in range(5)]
    assert dataset[3]["times"].tolist() == pytest.approx([0.5, 0.7, 0.8, 0.9, 1.4])
    assert dataset[1]["times"].tolist() == [0.5] and dataset[1]["frame_rate"] == 0
    with pytest.raises(IndexError, match="row 32 of"):
        dataset[32]


@pytest.mark.parametrize(("dtype", "close"), [("float16", 1e-3), ("bfloat16", 1e-2), ("int8", 0.02)])
def test_latents_come_back_as_floats_and_normalised(tmp_path: Path, dtype: str, close: float) -> None:
    folder = write_set(tmp_path / "set", [3], spec=CONTINUOUS, dtype=dtype)  # type: ignore[arg-type]
    expected = tokens_of(1, CONTINUOUS, 5, 16, 24)
    plain, normal = TokenDataset(folder)[1]["tokens"], TokenDataset(folder, normalized=True)
    assert plain.dtype == torch.float32
    torch.testing.assert_close(plain, expected, atol=close, rtol=close)
    mean, std = torch.tensor(MEAN).view(-1, 1, 1, 1), torch.tensor(STD).view(-1, 1, 1, 1)
    torch.testing.assert_close(normal[1]["tokens"], (plain - mean) / std)
    torch.testing.assert_close(normal.denormalize(normal[1]["tokens"][None])[0], plain)


def test_signals_are_there_for_frames_and_for_latent_frames(latents: Path) -> None:
    row = TokenDataset(latents)[2]
    assert row["signals"]["action"].tolist() == [[float(frame), 2.0] for frame in range(5)]
    assert row["latent_signals"]["action"][:, :, 0].tolist() == [[0, 0, 0, 0], [1, 2, 3, 4]]
    assert TokenDataset(latents)[1]["signals"] == {}
    batch = collate([TokenDataset(latents)[number] for number in (0, 1)])
    assert batch["signals"]["action"][1] is None
    batch = collate([TokenDataset(latents)[number] for number in (0, 2)])
    assert batch["latent_signals"]["action"].shape == (2, 2, 4, 2)


def test_which_frames_latent_frames_stand_for() -> None:
    assert frames_of_latents(CONTINUOUS, 3, 7).tolist() == [[0, 0, 0, 0], [1, 2, 3, 4], [5, 6, 6, 6]]
    blocks = replace(CONTINUOUS, first=4)
    assert frames_of_latents(blocks, 2, 8).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_single_rows_for_samplers(indices: Path) -> None:
    dataset = TokenDataset(indices)
    loader = DataLoader(Subset(dataset, range(len(dataset))), batch_size=5, shuffle=True, collate_fn=collate)
    assert sorted(int(n) for batch in loader for n in batch["row"]) == list(range(32))
    first, second = random_split(dataset, [20, 12], torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert sorted([*numbers(first), *numbers(second)]) == list(range(32))
    assert numbers(dataset.__getitems__([9, 3, 9])) == [9, 3, 9]


# Streams -----------------------------------------------------------------------------------------------------------


def test_a_stream_without_shuffling_is_in_order(indices: Path) -> None:
    assert numbers(TokenDataset(indices)) == list(range(32))


def test_epochs_have_orders_of_their_own_that_repeat(indices: Path) -> None:
    dataset = TokenDataset(indices, shuffle=True, buffer=8)
    first = numbers(dataset)
    dataset.set_epoch(1)
    second = numbers(dataset)
    dataset.set_epoch(0)
    assert numbers(dataset) == first != second
    assert sorted(first) == sorted(second) == list(range(32))
    assert numbers(TokenDataset(indices, shuffle=True, buffer=8, seed=1)) not in (first, second)


@given(st.integers(1, 5), st.integers(0, 3), st.integers(0, 200), st.booleans())
def test_shares_are_all_rows_each_once(ranks: int, workers: int, rows: int, even: bool) -> None:
    shares = [Share(rank, ranks, worker, max(1, workers)) for rank in range(ranks) for worker in range(max(1, workers))]
    parts = [share.of(rows, even) for share in shares]
    taken = [row for part in parts for row in part]
    left_out = rows % len(shares) if even else 0
    assert taken == list(range(rows - left_out))
    sizes = {len(part) for part in parts}
    assert len(sizes) == 1 if even else max(sizes) - min(sizes) <= 2


@given(st.integers(0, 60), st.integers(1, 70), st.integers(0, 60), st.text(max_size=3))
def test_mixing_loses_nothing_and_goes_on_anywhere(count: int, buffer: int, taken: int, seed: str) -> None:
    order = list(Mixer(count, buffer, seed))
    assert sorted(order) == list(range(count))
    assert all(number < place + buffer for place, number in enumerate(order))
    taken = min(taken, count)
    assert list(Mixer(count, buffer, seed, taken)) == order[taken:]
    assert sorted(shuffled(count, seed)) == list(range(count))


@settings(max_examples=40)
@given(
    ranks=st.integers(1, 4),
    shuffle=st.booleans(),
    buffer=st.sampled_from([1, 5, 100]),
    epoch=st.integers(0, 3),
    data=st.data(),
)
def test_streams_of_all_ranks_go_on_anywhere(
    indices: Path, ranks: int, shuffle: bool, buffer: int, epoch: int, data: st.DataObject
) -> None:
    seen: Counter[int] = Counter()
    for rank in range(ranks):
        make = lambda rank=rank: TokenDataset(  # noqa: E731
            indices, shuffle=shuffle, buffer=buffer, rank=rank, world_size=ranks
        )
        dataset = make()
        dataset.set_epoch(epoch)
        stop = data.draw(st.integers(0, 32 // ranks))
        stream = iter(dataset)
        before = [next(stream)["row"] for _ in range(stop)]
        state = json.loads(json.dumps(dataset.state_dict()))
        rest = numbers(stream)
        again = make()
        again.load_state_dict(state)
        assert again.state_dict() == state
        assert numbers(again) == rest
        again.set_epoch(epoch)
        assert numbers(again) == before + rest  # the next one begins at the beginning
        seen.update(before + rest)
    assert seen == Counter(range(32))


@settings(max_examples=30)
@given(size=st.integers(1, 6), drop_last=st.booleans(), stop=st.integers(0, 40), seed=st.integers(0, 3))
def test_batches_have_one_shape_and_go_on_anywhere(
    indices: Path, size: int, drop_last: bool, stop: int, seed: int
) -> None:
    def make() -> object:
        return TokenDataset(indices, shuffle=True, buffer=9, seed=seed).batches(size, drop_last=drop_last)

    batches = make()
    found, states = [], [batches.state_dict()]  # type: ignore[attr-defined]
    for batch in batches:  # type: ignore[attr-defined]
        found.append(batch["row"].tolist())
        states.append(batches.state_dict())  # type: ignore[attr-defined]
        shape = SIZES[found[-1][0] % 3]
        assert batch["tokens"].shape == (len(found[-1]), *DISCRETE.grid(*shape))
    rows = [row for batch in found for row in batch]
    assert len(set(rows)) == len(rows)
    lengths = [len(batch) for batch in found]
    if drop_last:
        assert set(lengths) <= {size}
    else:
        assert sorted(rows) == list(range(32)) and sum(length < size for length in lengths) <= 3
    stop = min(stop, len(found))
    again = make()
    again.load_state_dict(states[stop])  # type: ignore[attr-defined]
    assert [batch["row"].tolist() for batch in again] == found[stop:]  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batched", [False, True])
def test_loaders_go_on_in_the_middle_of_an_epoch(indices: Path, workers: int, batched: bool) -> None:
    def make() -> tuple[TokenDataset, StatefulDataLoader]:
        dataset = TokenDataset(indices, shuffle=True, buffer=6)
        if batched:
            return dataset, StatefulDataLoader(dataset.batches(3), batch_size=None, num_workers=workers)
        return dataset, StatefulDataLoader(dataset, batch_size=3, num_workers=workers, collate_fn=collate)

    dataset, loader = make()
    epochs, states = [], {}
    for epoch in range(2):
        dataset.set_epoch(epoch)
        epochs.append([])
        for batch in loader:
            epochs[-1].append(batch["row"].tolist())
            states[epoch, len(epochs[-1])] = loader.state_dict()
    assert [sorted(n for batch in epoch for n in batch) for epoch in epochs] == [list(range(32))] * 2
    assert epochs[0] != epochs[1]
    for epoch, stop in [(0, 4), (1, 1), (0, len(epochs[0]))]:
        dataset, loader = make()
        dataset.set_epoch(epoch)
        loader.load_state_dict(pickle.loads(pickle.dumps(states[epoch, stop])))
        assert [batch["row"].tolist() for batch in loader] == epochs[epoch][stop:]
        dataset.set_epoch(1)
        assert [batch["row"].tolist() for batch in loader] == epochs[1]


def test_workers_that_live_on_learn_of_the_epoch(indices: Path) -> None:
    dataset = TokenDataset(indices, shuffle=True, buffer=6)
    loader = DataLoader(dataset, batch_size=None, num_workers=1, persistent_workers=True)
    first = numbers(loader)
    dataset.set_epoch(3)
    assert numbers(loader) != first
    assert numbers(loader) == numbers(dataset)


@pytest.mark.slow
def test_workers_started_anew_share_out_rows(indices: Path) -> None:
    dataset = TokenDataset(indices, shuffle=True, rank=1, world_size=2)
    loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="spawn")
    assert sorted(numbers(loader)) == sorted(numbers(dataset))


def test_ranks_come_from_torch_distributed(indices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = TokenDataset(indices)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    expected = list(Share(1, 3).of(32, False))
    assert numbers(dataset) == expected
    sent = pickle.dumps(dataset)
    monkeypatch.undo()
    assert numbers(pickle.loads(sent)) == expected


def test_an_even_epoch_has_as_many_rows_for_all(indices: Path) -> None:
    parts = [numbers(TokenDataset(indices, rank=rank, world_size=5, even=True)) for rank in range(5)]
    assert [len(part) for part in parts] == [6] * 5 and sorted(n for part in parts for n in part) == list(range(30))


def test_from_an_object_store(indices: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.put(str(indices), "/bucket/there", recursive=True)
    assert numbers(TokenDataset("memory://bucket/there", shuffle=True)) == numbers(TokenDataset(indices, shuffle=True))


# What is refused ---------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(indices: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(indices, tmp_path / "copy"))


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=r"no data set there, as it has no manifest\.json"):
            TokenDataset(place)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="not the manifest of a data set"):
        TokenDataset(tmp_path)


def test_missing_and_damaged_shards_are_named(copy: Path) -> None:
    shard = copy / "data" / "00000-00002.parquet"
    whole = shard.read_bytes()
    shard.unlink()
    with pytest.raises(InputError, match=r"00000-00002\.parquet: is missing"):
        TokenDataset(copy)
    shard.write_bytes(whole[:-9])
    with pytest.raises(InputError, match=r"00000-00002\.parquet: has [\d,]+ bytes, not the [\d,]+ of"):
        TokenDataset(copy)
    shard.write_bytes(b"\0" * len(whole))
    with pytest.raises(InputError, match=r"00000-00002\.parquet: damaged \("):
        list(TokenDataset(copy))
    middle = bytearray(whole)
    middle[200:2000] = bytes(1800)
    shard.write_bytes(middle)
    with pytest.raises(InputError, match="damaged"):
        list(TokenDataset(copy))


def changed(folder: Path, **values: object) -> Path:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return folder


def test_devices_in_place_of_files_are_refused(copy: Path) -> None:
    for name in ("data/00000-00000.parquet", "manifest.json"):
        (copy / name).unlink()
        (copy / name).symlink_to("/dev/null")
        with pytest.raises(InputError, match="pipe, socket or device"):
            LocalStorage(copy).read(name)
    with pytest.raises(InputError, match=r"no data set there"):
        TokenDataset(copy)


def test_manifests_that_do_not_fit_are_refused(copy: Path) -> None:
    manifest = Manifest.parse((copy / "manifest.json").read_text(), "manifest")
    shards = [vars(shard) for shard in manifest.shards]
    with pytest.raises(InputError, match=r"00000-00000\.parquet: has 7 rows, not the 9 of the manifest"):
        list(TokenDataset(changed(copy, shards=[{**shards[0], "rows": 9}, *shards[1:]])))
    with pytest.raises(InputError, match="is no name of a shard"):
        TokenDataset(changed(copy, shards=[{**shards[0], "name": "data/../../secret.parquet"}]))
    with pytest.raises(InputError, match="does not have the columns of its manifest"):
        list(TokenDataset(changed(copy, shards=shards, signals={"action": [2]})))
    with pytest.raises(InputError, match="is not complete"):
        TokenDataset(changed(copy, shards=[], complete=False, signals={}))
    spec = {**vars(manifest.spec), "vocab_size": 10}
    with pytest.raises(InputError, match=r"row 0 is damaged \(an index of"):
        TokenDataset(changed(copy, shards=shards, complete=True, spec=spec))[0]
    with pytest.raises(InputError, match=r"row 0 is damaged \(a grid of"):
        TokenDataset(changed(copy, spec={**vars(manifest.spec), "spatial_factor": 16}))[0]


@pytest.mark.parametrize(
    ("text", "remedy"),
    [("", "put back a copy"), ("\0" * 99, "put back a copy"), ("[1]", "put back a copy"), ("{}", "put back a copy"),
     ('{"format": "cosmotok-dataset", "version": 2}', "update cosmotok"), (None, "put back a copy")],
)  # fmt: skip
def test_damaged_manifests_are_named_with_a_remedy(copy: Path, text: str | None, remedy: str) -> None:
    path = copy / "manifest.json"
    path.write_text(path.read_text()[:900] if text is None else text)
    with pytest.raises(InputError) as caught:
        TokenDataset(copy)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and remedy in message and "\n" not in message


def test_states_of_other_streams_are_refused(indices: Path, latents: Path) -> None:
    dataset = TokenDataset(indices, shuffle=True)
    state = dataset.state_dict()
    with pytest.raises(InputError, match="expected what `state_dict` gave"):
        dataset.load_state_dict({})
    for other, what in [
        (TokenDataset(latents, shuffle=True), "data: "),
        (TokenDataset(indices, shuffle=True, seed=1), "seed: 0, not 1"),
        (TokenDataset(indices, shuffle=True, rank=0, world_size=2), "world_size: 1, not 2"),
    ]:
        other.load_state_dict(state)
        with pytest.raises(InputError, match=what):
            iter(other)
    with pytest.raises(InputError, match="of batches of 2 rows, not of 3"):
        dataset.batches(3).load_state_dict(dataset.batches(2).state_dict())


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**5000), st.floats(), st.text(max_size=9), st.binary(max_size=9),
    st.lists(st.one_of(st.integers(-2, 40), st.text(max_size=2), st.lists(st.none(), max_size=1)), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_states_are_refused_in_one_line(indices: Path, data: st.DataObject) -> None:
    dataset = TokenDataset(indices, shuffle=True, buffer=4)
    stream = dataset.batches(2) if data.draw(st.booleans()) else dataset
    state = stream.state_dict() | {"taken": 3}
    changed = data.draw(st.dictionaries(st.sampled_from([*state, "other"]), ANYTHING, min_size=1))
    gone = data.draw(st.sets(st.sampled_from([*state]), max_size=1))
    damaged: object = {name: value for name, value in (state | changed).items() if name not in gone}
    try:
        stream.load_state_dict(data.draw(st.sampled_from([damaged, damaged, damaged, [damaged], None])))  # type: ignore[arg-type]
        read = sum(1 for _ in dataset) if stream is dataset else sum(len(batch["row"]) for batch in stream)
        assert damaged["taken"] in range(sum(SHARDS) + 1) and read >= sum(SHARDS) - damaged["taken"]  # type: ignore[index]
    except InputError as error:
        assert str(error).startswith("state: ") and "\n" not in str(error) and len(str(error)) < 2000


@pytest.mark.parametrize(
    ("name", "value"), [("taken", 33), ("taken", -1), ("taken", True), ("waiting", [32]), ("waiting", [1, 1]),
                        ("waiting", [[]]), ("epoch", 2**63), ("epoch", "0"), ("waiting", None)],
)  # fmt: skip
def test_states_that_nothing_goes_on_from_are_refused(indices: Path, name: str, value: object) -> None:
    dataset = TokenDataset(indices, shuffle=True)
    with pytest.raises(InputError, match=f"^state: {name} is not what `state_dict` gave"):
        dataset.load_state_dict(dataset.state_dict() | {name: value})
        iter(dataset)


@pytest.mark.parametrize(
    "options",
    [{"buffer": 0}, {"seed": 1.5}, {"rank": 2, "world_size": 2}, {"rank": 0}, {"normalized": True}],
    ids=str,
)
def test_arguments_out_of_range_are_refused(indices: Path, options: dict) -> None:
    with pytest.raises(InputError):
        TokenDataset(indices, **options)
    with pytest.raises(InputError):
        TokenDataset(indices).batches(0)


def test_another_model_is_refused(indices: Path) -> None:
    with pytest.raises(InputError, match="made by made-up with weights 0123456789abcdef, not by"):
        TokenDataset(indices).check(Tokenizer.from_pretrained("dv4x8x8-tiny"))
