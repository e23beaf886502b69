"""A run that is killed, stopped or out of disk goes on as if nothing had been."""

import errno
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from runs import ADVERSARIAL, finish, lines, make_data, recipe, start, train

from cosmotok import Tokenizer
from cosmotok.errors import CheckpointError
from cosmotok.training.checkpoints import Checkpoints
from cosmotok.writing.hidden import hidden, release
from cosmotok.writing.system import calls


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def one_thread():
    """As the processes that are started: sums are the same to the bit with as many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weights(folder):
    return Tokenizer.from_pretrained(folder).network.state_dict()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_after_kills_at_random_moments_the_run_is_the_same_to_the_bit(data, tmp_path):
    stages = [{"steps": 5}, {"steps": 7, "frames": 9, "past": 9}]
    chosen = recipe(data, "accumulate=2", "data.motion.share=0.5", *ADVERSARIAL, stages=stages)
    assert finish(start(chosen, tmp_path / "whole")) == [0]
    expected = lines(tmp_path / "whole")
    assert len(expected) == 12
    moments, folder, kills = random.Random(0), tmp_path / "killed", 0
    process = start(chosen, folder)
    wait_for(lambda: (folder / "recipe.yaml").exists() or process.exitcode is not None)
    for _ in range(6):
        time.sleep(moments.uniform(0, 0.4))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        for path in (folder / "checkpoints").glob("step-*"):  # whatever is there can be loaded
            Checkpoints(folder / "checkpoints", 1).load(int(path.name[5:]))
        process = start(chosen, folder, resume=True)
    assert finish(process) == [0]
    assert kills >= 2
    assert lines(folder) == expected
    assert same(weights(folder), weights(tmp_path / "whole"))


def test_killed_while_it_saves_the_older_checkpoint_goes_on(data, tmp_path):
    chosen = recipe(data)
    expected = train(chosen, tmp_path / "whole")
    folder = tmp_path / "killed"
    first = recipe(data, "save_every=3")
    train_until_second_save = start(first, folder, slow=0.3)
    wait_for((folder / "checkpoints" / "step-00000003").exists)
    (folder / "saving").unlink()
    wait_for((folder / "saving").exists)
    train_until_second_save.kill()
    train_until_second_save.join()
    left = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert len(left) == 2
    assert left[0].startswith(".step-00000006")
    assert left[1] == "step-00000003"
    assert train(first, folder, resume=True)[3:] == expected[3:]
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-00000003", "step-00000006"]


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(data, tmp_path):
    chosen = recipe(data)
    expected = train(chosen, tmp_path / "whole")
    (tmp_path / "killed").mkdir()
    for name in ("recipe.yaml", "log.jsonl"):
        (tmp_path / "killed" / name).write_bytes((tmp_path / "whole" / name).read_bytes())
    assert train(chosen, tmp_path / "killed", resume=True) == expected


def test_means_go_on_where_a_line_of_the_log_was_half_full(data, tmp_path):
    chosen = recipe(data, "log_every=4", "save_every=3", "keep=9")
    expected = train(chosen, tmp_path)
    (tmp_path / "log.jsonl").write_text("")
    for name in ("step-00000006",):
        (tmp_path / "checkpoints" / name / "state.pt").unlink()
        (tmp_path / "checkpoints" / name).rmdir()
    assert train(chosen, tmp_path, resume=True) == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends_the_run(data, tmp_path, number):
    chosen = recipe(data, "save_every=1000", stages=[{"steps": 60}])
    process = start(chosen, tmp_path)
    wait_for(lambda: len(lines(tmp_path)) >= 2)
    os.kill(process.pid, number)
    assert finish(process) == [130]
    (step,) = Checkpoints(tmp_path / "checkpoints", 1).steps()
    assert step == len(lines(tmp_path)) < 60
    assert Tokenizer.from_pretrained(tmp_path).config.channels == 8
    resumed = recipe(data, "save_every=1000", stages=[{"steps": 60}])
    assert len(train(resumed, tmp_path, resume=True)) == 60


def test_a_full_disk_leaves_the_older_checkpoint(data, tmp_path, monkeypatch):
    chosen = recipe(data)
    expected = train(chosen, tmp_path / "whole")
    real, saves = torch.save, []

    def fills_up(state, file):
        saves.append(1)
        if len(saves) == 2:
            file.write(b"some of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(state, file)

    monkeypatch.setattr(torch, "save", fills_up)
    folder = tmp_path / "full"
    with pytest.raises(CheckpointError, match=r"step-00000004/state\.pt: the disk is full.*goes on from step 2"):
        train(chosen, folder)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-00000002"]
    assert train(chosen, folder, resume=True) == expected


def test_a_real_full_disk_is_named(tmp_path, monkeypatch):
    """torch's own writer hides the system's error; /dev/full stands for a disk without room."""
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("no /dev/full here")
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, {"x": torch.zeros(3)})
    write, full = calls.write, os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr(calls, "write", lambda _, data: write(full, data), raising=False)
    with pytest.raises(CheckpointError, match=r"disk is full \(at least .* MB needed"):
        checkpoints.save(2, {"x": torch.zeros(1_000_000)})
    os.close(full)
    assert checkpoints.steps() == [1]
    assert checkpoints.load(1)["x"].tolist() == [0, 0, 0]


def test_checkpoints_are_rotated(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 5, 20):
        checkpoints.save(step, {"step": step})
    assert checkpoints.steps() == [5, 20]
    assert checkpoints.load(20) == {"step": 20}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000005", "step-00000020"]


@pytest.mark.parametrize("kept", [0, 100, 3000])
def test_a_damaged_checkpoint_is_named(data, tmp_path, kept):
    chosen = recipe(data)
    train(chosen, tmp_path)
    path = tmp_path / "checkpoints" / "step-00000006" / "state.pt"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"state\.pt: is damaged.*to go on from step 4"):
        train(chosen, tmp_path, resume=True)


def test_another_recipe_is_not_resumed(data, tmp_path):
    train(recipe(data), tmp_path)
    with pytest.raises(CheckpointError, match=r"seed was 0, is 1.*start=FOLDER"):
        train(recipe(data, "seed=1"), tmp_path, resume=True)
    with pytest.raises(CheckpointError, match=r"minutes was None, is 1\.0"):
        train(recipe(data, "minutes=1"), tmp_path, resume=True)
    with pytest.raises(CheckpointError, match=r"model_changes\.channels was 8, is 16"):
        train(recipe(data, "model_changes.channels=16"), tmp_path, resume=True)
    with pytest.raises(CheckpointError, match=r"stages\.0\.clips was 2, is 1, stages\.0\.steps was 6, is 9"):
        train(recipe(data, stages=[{"clips": 1, "steps": 9}]), tmp_path, resume=True)


def test_how_often_to_log_may_change(data, tmp_path):
    train(recipe(data), tmp_path)
    train(recipe(data, "log_every=2", "keep=1", "data.max_broken=0.5"), tmp_path, resume=True)


def test_other_files_are_not_the_same_data(data, tmp_path):
    own = make_data(tmp_path / "data")
    train(recipe(own), tmp_path / "run")
    (own / "video0.mp4").rename(own / "other.mp4")
    with pytest.raises(CheckpointError, match=r"the files of data\.train are others"):
        train(recipe(own), tmp_path / "run", resume=True)


def test_there_must_be_something_to_resume(data, tmp_path):
    with pytest.raises(CheckpointError, match="nothing to resume"):
        train(recipe(data), tmp_path, resume=True)


def test_a_run_does_not_overwrite_another(data, tmp_path):
    train(recipe(data), tmp_path)
    with pytest.raises(CheckpointError, match="holds a run already"):
        train(recipe(data), tmp_path)


def test_what_a_killed_run_left_goes_when_another_goes_on(tmp_path):
    """Even if that one has no checkpoint left to write."""
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    mine = hidden(tmp_path / "step-00000001")
    release(mine)
    left = tmp_path / mine.name.replace(f"-{os.getpid()}-", f"-{process.stdout.strip()}-")
    left.mkdir()
    (left / "state.pt").write_bytes(b"half")
    Checkpoints(tmp_path, keep=1)
    assert not list(tmp_path.iterdir())
