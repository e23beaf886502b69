"""PyTorch's files: every layout reads as torch itself reads it, and hostile ones do nothing but raise."""

import os
import pickle
import subprocess
import sys
import time
import tracemalloc
import warnings
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cosmotok.checkpoint.archive import read_tensors
from cosmotok.checkpoint.reference_files import read_reference
from cosmotok.errors import CheckpointError

FLOATS = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
OTHERS = [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64]


class Net(nn.Module):
    """What TorchScript modules may hold: parameters, views, containers, attributes of many types."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1).bfloat16()
        self.rest = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.ModuleList([nn.Linear(2, 2)])[0])
        matrix = torch.arange(12.0).view(3, 4)
        self.register_buffer("matrix", matrix)
        self.register_buffer("turned", matrix.t())
        self.register_buffer("part", matrix[1:, 2:])
        self.register_buffer("none", torch.zeros(0, 3))
        self.register_buffer("scalar", torch.tensor(7))
        for dtype in FLOATS + OTHERS:
            self.register_buffer(str(dtype).replace("torch.", "of_"), torch.ones(3).to(dtype))
        self.names, self.sizes, self.numbers = ["a", "b"], (1, 2.5), {"x": 1}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rest(x) * len(self.names) * self.numbers["x"] * self.sizes[0]


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "net.jit"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Net()).save(path)
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "net.pt"
    torch.save({"model": Net().state_dict(), "step": 3}, path)
    return path


def assert_same(actual, expected):
    assert list(actual) == list(expected)
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype
        assert torch.equal(actual[name], tensor), name


def refused(path):
    with pytest.raises(CheckpointError) as caught:
        read_tensors(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


# What torch writes ---------------------------------------------------------------------------------------------------


def test_torchscript_as_torch_reads_it(script):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = torch.jit.load(script).state_dict()
    actual = read_tensors(script)
    assert set(actual) == set(expected)
    assert_same(actual, {name: expected[name] for name in actual})


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("new", [True, False], ids=["zip", "before-1.6"])
def test_state_dicts(protocol, new, tmp_path):
    state = Net().state_dict() | {"parameter": nn.Parameter(torch.ones(2))}
    if new:  # torch itself cannot read these from the older files
        state["unsigned"] = torch.ones(3, dtype=torch.uint16)
    path = tmp_path / "net.pt"
    torch.save(state, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    assert_same(read_tensors(path), state)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "before-1.6"])
def test_training_checkpoints_are_flattened_and_what_is_not_chosen_is_not_read(new, tmp_path):
    net, path = nn.Linear(3, 2), tmp_path / "iter.pt"
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    saved = {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "iteration": 7,
        "size": torch.Size([3]),
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "rng": torch.get_rng_state(),
    }
    torch.save(saved, path, _use_new_zipfile_serialization=new)
    everything = read_tensors(path)
    assert "optimizer.state.0.exp_avg" in everything
    assert torch.equal(everything["rng"], saved["rng"])
    chosen = read_tensors(path, lambda names: [name for name in names if name.startswith("model.")])
    assert_same(chosen, {f"model.{name}": tensor for name, tensor in net.state_dict().items()})


def test_numpy_numbers_beside_the_weights_do_not_matter(tmp_path):
    numpy = pytest.importorskip("numpy")
    torch.save({"w": torch.ones(2), "loss": numpy.float64(0.5)}, tmp_path / "x.pt")
    assert_same(read_tensors(tmp_path / "x.pt"), {"w": torch.ones(2)})


def test_tensors_on_other_devices_come_to_the_cpu(saved, tmp_path):
    path = edited(saved, tmp_path, lambda data: data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"))
    assert all(tensor.device.type == "cpu" for tensor in read_tensors(path).values())


# Editing archives ----------------------------------------------------------------------------------------------------


def rewritten(source, folder, change, compression=zipfile.ZIP_STORED):
    """A copy whose records went through `change`, a function of {name: bytes}."""
    path = folder / f"hostile{source.suffix}"
    with zipfile.ZipFile(source) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    root = next(iter(records)).partition("/")[0]
    change(records, root)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as archive:
        warnings.simplefilter("ignore")
        for name, data in records.items():
            archive.writestr(zipfile.ZipInfo(name) if compression == zipfile.ZIP_STORED else name, data)
    return path


def edited(source, folder, change):
    """A copy whose pickle went through `change`, a function of bytes."""

    def change_pickle(records, root):
        before = records[f"{root}/data.pkl"]
        records[f"{root}/data.pkl"] = change(before)
        assert records[f"{root}/data.pkl"] != before

    return rewritten(source, folder, change_pickle)


class Runs:
    """Pickles to the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


# Code ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["jit", "pt", "pt-nested", "pt-old", "pickle"])
@pytest.mark.parametrize("function", [os.system, eval, exec, subprocess.check_output, pickle.loads, print])
def test_nothing_is_run(kind, function, script, saved, tmp_path, capsys):
    marker = tmp_path / "marker"
    argument = f"touch {marker}" if function in (os.system, print) else f"open({str(marker)!r}, 'w').close()"
    if function is subprocess.check_output:
        argument = ["touch", str(marker)]
    if function is pickle.loads:
        argument = pickle.dumps(Runs(eval, f"open({str(marker)!r}, 'w').close()"))
    trap = Runs(function, argument)
    path = tmp_path / f"trap.{kind.partition('-')[0]}"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(trap, protocol=2))
    elif kind == "pt-old":
        torch.save({"model": trap}, path, _use_new_zipfile_serialization=False)
    elif kind == "pt-nested":
        torch.save({"model": Net().state_dict(), "extra": [{"x": (trap,)}]}, path)
    else:
        source = script if kind == "jit" else saved
        path = edited(source, tmp_path, lambda data: pickle.dumps(trap, protocol=2))
    for read in (read_tensors, read_reference):
        with pytest.raises(CheckpointError, match=f"{function.__name__}', which no checkpoint needs"):
            read(path)
    assert not marker.exists()
    assert capsys.readouterr().out == ""


def test_the_traps_do_work(tmp_path):
    marker = tmp_path / "marker"
    pickle.loads(pickle.dumps(Runs(os.system, f"touch {marker}"), protocol=2))
    assert marker.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02c__builtin__\neval\n(X\x01\x00\x00\x001tR.",
        b"(S'1'\ni__builtin__\neval\n.",  # INST
        b"\x80\x02(c__builtin__\neval\nX\x01\x00\x00\x001o.",  # OBJ
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.",
        b"\x80\x02c__torch__.os\nsystem\nX\x01\x00\x00\x00x\x85R.",  # no modules of these names, just inert
        b"\x80\x02cos\nsystem\n.",
    ],
)
def test_other_ways_to_call(data, saved, tmp_path):
    path = edited(saved, tmp_path, lambda _: data)
    if b"__torch__" in data:
        assert read_tensors(path) == {}
    else:
        assert "no checkpoint needs" in refused(path)


def test_reading_imports_nothing_that_a_file_names(script, tmp_path):
    (tmp_path / "innocent_module.py").write_text("raise SystemExit('imported')")
    path = edited(script, tmp_path, lambda data: data.replace(b"c__torch__", b"cinnocent_module", 1))
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, str(Path(sys.argv[1]).parent))\n"
        "from cosmotok.checkpoint.archive import read_tensors\n"
        "try: read_tensors(Path(sys.argv[1]))\n"
        "except Exception as error: print(error)\n"
        "print('innocent_module' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "asks for 'innocent_module" in done.stdout
    assert done.stdout.endswith("False\n")


# Pickles that exhaust ------------------------------------------------------------------------------------------------


def deep_key(depth):
    """{((((...),),),): 1}: hashing it overflows the stack, of `torch.load(weights_only=True)` too."""
    return b"\x80\x02})" + b"\x85" * depth + b"K\x01s."


def laughs(levels):
    """A dict of ten times the same dict of ten times the same dict ..."""
    data = b"\x80\x02}q\x00"
    for level in range(levels):
        data += b"}(" + b"".join(bytes([88, 1, 0, 0, 0, 48 + i]) + b"h" + bytes([level]) for i in range(10))
        data += b"uq" + bytes([level + 1])
    return data + b"."


BOMBS = {
    "memo": b"\x80\x02K\x01r\xff\xff\xff\x7f.",
    "key": deep_key(300_000),
    "laughs": laughs(30),
    "cycle": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    "long text": b"\x80\x02X\xff\xff\xff\x7fa.",
    "long bytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fa.",
    "wide": b"\x80\x02" + b"]" * 50_000 + b".",
    "marks": b"\x80\x02" + b"(" * 50_000 + b"t" * 50_000 + b".",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_pickles_that_would_take_all_memory_or_crash(bomb, saved, tmp_path):
    path = edited(saved, tmp_path, lambda _: BOMBS[bomb])
    start = time.process_time()
    tracemalloc.start()
    try:
        assert read_tensors(path) == {}
    except CheckpointError as error:
        assert "\n" not in str(error)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 600 << 20
    assert time.process_time() - start < 30


# Zip archives --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", ["data.pkl", "data/0"])
@pytest.mark.parametrize("source", ["script", "saved"])
def test_a_zip_bomb(record, source, request, tmp_path):
    def bomb(records, root):
        records[f"{root}/{record}"] = bytes(1 << 28)

    path = rewritten(request.getfixturevalue(source), tmp_path, bomb, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    message = refused(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "claims 268435456 bytes" in message
    assert peak < 16 << 20


@pytest.mark.parametrize("name", ["../evil", "net/../../evil", "/etc/evil", "net\\..\\evil", "C:/evil"])
def test_paths_that_lead_out(name, saved, tmp_path):
    path = rewritten(saved, tmp_path, lambda records, root: records.update({name: b"x"}))
    assert "leads out of the archive" in refused(path)
    assert not list(tmp_path.parent.glob("**/evil"))


def test_a_record_twice(saved, tmp_path):
    path = tmp_path / "twice.pt"
    path.write_bytes(saved.read_bytes())
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("net/data.pkl", b"\x80\x02}.")
    assert "is there twice" in refused(path)


def test_an_encrypted_record(saved, tmp_path):
    data = bytearray(saved.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x.pt").write_bytes(data)
    assert "is encrypted" in refused(tmp_path / "x.pt")


def test_an_unknown_compression(saved, tmp_path):
    path = rewritten(saved, tmp_path, lambda records, root: None, zipfile.ZIP_LZMA)
    assert "compressed in a way" in refused(path)


def test_deflated_records_of_honest_size_are_read(saved, tmp_path):
    path = rewritten(saved, tmp_path, lambda records, root: None, zipfile.ZIP_DEFLATED)
    assert_same(read_tensors(path), read_tensors(saved))


def test_too_many_records(saved, tmp_path):
    many = {f"net/{i}": b"" for i in range(20_001)}
    path = rewritten(saved, tmp_path, lambda records, root: records.update(many))
    assert "more than any checkpoint has" in refused(path)


def test_a_pickle_of_improper_size(saved, tmp_path):
    path = edited(saved, tmp_path, lambda data: data + bytes(8 << 20))
    assert "a pickle of 8 MB, which no checkpoint needs" in refused(path)


def test_another_zip_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "not one of PyTorch" in refused(tmp_path / "x.pt")


def test_a_big_endian_file(saved, tmp_path):
    path = rewritten(saved, tmp_path, lambda records, root: records.update({f"{root}/byteorder": b"big"}))
    assert "big-endian" in refused(path)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"hello", b"\x80\x02", b"<html>404</html>", bytes(1000)])
def test_files_of_other_kinds(data, tmp_path):
    (tmp_path / "x.pt").write_bytes(data)
    assert "is damaged, or no file of PyTorch" in refused(tmp_path / "x.pt")


def test_a_pointer_of_git_lfs(tmp_path):
    (tmp_path / "x.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    assert "git lfs pull" in refused(tmp_path / "x.pt")


def test_no_file_and_a_folder(tmp_path):
    assert "no such file" in refused(tmp_path / "x.pt")
    assert "is a folder" in refused(tmp_path)


# Sizes and shapes ----------------------------------------------------------------------------------------------------


def described(size, stride, offset=0, numbers=4, storage="FloatStorage"):
    """The pickle of {"w": one tensor} of a storage with that many numbers."""

    def number(n):
        length = (n.bit_length() + 8) // 8
        return b"\x8a" + bytes([length]) + n.to_bytes(length, "little", signed=True)

    def numbers_of(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    persistent = b"(X\x07\x00\x00\x00storage" + f"ctorch\n{storage}\n".encode() + b"X\x01\x00\x00\x000"
    persistent += b"X\x03\x00\x00\x00cpu" + number(numbers) + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + persistent + number(offset)
    tensor += numbers_of(size) + numbers_of(stride) + b"\x89}tR"
    return b"\x80\x02}X\x01\x00\x00\x00w" + tensor + b"s."


def one_tensor(folder, data, record=bytes(16)):
    path = folder / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", data)
        archive.writestr("x/data/0", record)
    return path


def test_an_honest_description(tmp_path):
    path = one_tensor(tmp_path, described((2, 2), (2, 1)))
    assert_same(read_tensors(path), {"w": torch.zeros(2, 2)})


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((5,), (1,), 0),
        ((2, 2), (3, 1), 0),
        ((4,), (1,), 1),
        ((2,), (1 << 62,), 0),
        ((1 << 40, 1 << 40), (0, 0), 0),
        ((1 << 40,), (0,), 0),
        ((5,), (0,), 0),
        ((2,), (-1,), 1),
        ((-2, -2), (1, 1), 0),
        ((2,), (1,), -1),
        ((1 << 2000,), (1,), 0),
        ((2, 2), (1,), 0),
        ((), (), 4),
    ],
)
def test_shapes_beyond_the_data(size, stride, offset, tmp_path):
    assert "is damaged" in refused(one_tensor(tmp_path, described(size, stride, offset)))


@pytest.mark.parametrize("numbers", [3, 5, 1 << 40, -4, 0])
def test_a_storage_that_lies_about_its_size(numbers, tmp_path):
    message = refused(one_tensor(tmp_path, described((1,), (1,), numbers=numbers)))
    assert f"needs {numbers * 4} bytes of data, has 16" in message


@pytest.mark.parametrize("storage", ["HalfStorage", "DoubleStorage"])
def test_a_storage_that_lies_about_its_dtype(storage, tmp_path):
    assert "bytes of data" in refused(one_tensor(tmp_path, described((1,), (1,), storage=storage)))


def test_a_missing_record(tmp_path):
    path = one_tensor(tmp_path, described((2, 2), (2, 1)).replace(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x007"))
    assert "the data of w are missing" in refused(path)


def test_changed_weights_do_not_pass(saved, tmp_path):
    data = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        record = archive.getinfo("net/data/2")
    data[record.header_offset + 30 + 64] ^= 1  # wherever the numbers begin, this is about them
    start = data.index(torch.arange(12.0).numpy().tobytes())
    data[start + 3] ^= 1
    (tmp_path / "x.pt").write_bytes(data)
    assert "is damaged" in refused(tmp_path / "x.pt")


@pytest.mark.parametrize("field", ["compress_size", "file_size"])
@pytest.mark.parametrize("value", [1 << 31, 3])
def test_a_directory_that_lies_about_sizes(field, value, saved, tmp_path):
    data = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        names = archive.namelist()
    entry = -1
    for _ in range(names.index("net/data/2") + 1):
        entry = data.index(b"PK\x01\x02", entry + 1)
    place = entry + (20 if field == "compress_size" else 24)
    data[place : place + 4] = value.to_bytes(4, "little")
    (tmp_path / "x.pt").write_bytes(data)
    message = refused(tmp_path / "x.pt")
    assert "claims" in message or "truncated" in message or "is damaged" in message


@pytest.mark.parametrize("source", ["script", "saved", "old"])
def test_truncated_files(source, request, tmp_path):
    if source == "old":
        whole = tmp_path / "old.pt"
        torch.save({"model": Net().state_dict()}, whole, _use_new_zipfile_serialization=False)
    else:
        whole = request.getfixturevalue(source)
    data = whole.read_bytes()
    for length in range(1, len(data) - 1, max(1, len(data) // 50)):
        (tmp_path / "x.pt").write_bytes(data[:length])
        message = refused(tmp_path / "x.pt")
        assert "damaged" in message or "truncated" in message


# Random damage -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def originals(script, saved, tmp_path_factory):
    old = tmp_path_factory.mktemp("old") / "old.pt"
    torch.save({"model": Net().state_dict()}, old, _use_new_zipfile_serialization=False)
    return [path.read_bytes() for path in (script, saved, old)]


@given(which=st.integers(0, 2), flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255))))
def test_flipped_bytes_raise_or_read(which, flips, originals, tmp_path_factory):
    data = bytearray(originals[which])
    for place, mask in flips:
        data[int(place * len(data))] ^= mask
    read_or_refuse(data, tmp_path_factory)


@given(script_first=st.booleans(), flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255))))
def test_flipped_bytes_in_the_pickle_raise_or_read(script_first, flips, script, saved, tmp_path_factory):
    def flip(data):
        damaged = bytearray(data)
        for place, mask in flips:
            damaged[int(place * len(data))] ^= mask
        return bytes(damaged)

    folder = tmp_path_factory.getbasetemp()

    def flip_pickle(records, root):
        records[f"{root}/data.pkl"] = flip(records[f"{root}/data.pkl"])

    path = rewritten(script if script_first else saved, folder, flip_pickle)
    read_or_refuse(path.read_bytes(), tmp_path_factory)


@given(data=st.binary(max_size=200), start=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x02}"]))
def test_any_bytes_at_all(data, start, tmp_path_factory):
    read_or_refuse(start + data, tmp_path_factory)


def read_or_refuse(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "flipped.pt"
    path.write_bytes(data)
    try:
        tensors = read_tensors(path)
    except CheckpointError as error:
        assert "\n" not in str(error)
        assert str(path) in str(error)
    else:
        assert all(tensor.sum() is not None for tensor in tensors.values())
