"""Several processes train as one does."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from runs import ADVERSARIAL, finish, lines, make_data, recipe, start_group, train

from cosmotok import Tokenizer
from cosmotok.errors import ConfigError, InputError
from cosmotok.training.batches import training_data
from cosmotok.training.overrides import to_yaml

STAGES = [{"steps": 10, "clips": 4, "images": 4}, {"steps": 10, "frames": 9, "clips": 2, "images": 4, "past": 9}]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


def close(records, expected, tolerance=1e-4):
    assert len(records) == len(expected)
    for record, other in zip(records, expected, strict=True):
        assert record["step"] == other["step"]
        assert abs(record["loss"] - other["loss"]) < tolerance
        assert record["terms"].keys() == other["terms"].keys()


@pytest.mark.parametrize("options", [["accumulate=2"], ADVERSARIAL], ids=["accumulating", "adversarial"])
def test_two_processes_follow_one(data, tmp_path, options):
    chosen = recipe(data, "optimizer.learning_rate=1e-3", "save_every=100", *options, stages=STAGES)
    expected = train(chosen, tmp_path / "one")
    assert len(expected) == 20
    assert expected[-1]["loss"] != pytest.approx(expected[0]["loss"], rel=0.05)  # it does learn
    assert finish(*start_group(chosen, tmp_path / "two", 2)) == [0, 0]
    close(lines(tmp_path / "two"), expected)


def test_two_processes_resume_what_one_began(data, tmp_path):
    chosen = recipe(data, stages=[{"steps": 6, "clips": 4, "images": 4}])
    expected = train(chosen, tmp_path)
    for path in sorted((tmp_path / "checkpoints").glob("step-*"))[1:]:
        (path / "state.pt").unlink()
        path.rmdir()
    (left,) = (tmp_path / "checkpoints").iterdir()
    assert left.name == "step-00000004"
    assert finish(*start_group(chosen, tmp_path, 2, resume=True)) == [0, 0]
    close(lines(tmp_path), expected)


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["accumulate=2", "activation_checkpointing=true", "train=decoder"]])
def test_two_processes_that_split_the_weights_follow_one(data, tmp_path, options):
    own = ["optimizer.name=adamw", "optimizer.learning_rate=1e-3", "save_every=6"]
    stages = [{"steps": 10, "clips": 4, "images": 4, "past": 9}]
    train(recipe(data, *own), tmp_path / "start")
    own += [f"start={tmp_path / 'start'}", *options]
    expected = train(recipe(data, *own, stages=stages), tmp_path / "one")
    folder = tmp_path / "two"
    chosen = recipe(data, *own, "shard=true", stages=stages)
    assert finish(*start_group(chosen, folder, 2)) == [0, 0]
    close(lines(folder), expected)
    one, two = (Tokenizer.from_pretrained(tmp_path / name).network.state_dict() for name in ("one", "two"))
    assert all((one[name] - two[name]).abs().max() < 1e-3 for name in one)
    checkpoints = sorted((folder / "checkpoints").iterdir())
    assert [path.name for path in checkpoints] == ["step-00000006", "step-00000010"]
    shutil.rmtree(checkpoints[1])
    assert finish(*start_group(chosen, folder, 2, resume=True)) == [0, 0]
    close(lines(folder), expected)


def test_what_cannot_be_split_is_refused(data, tmp_path):
    with pytest.raises(ConfigError, match=r"Muon needs whole matrices; set optimizer\.name=adamw"):
        recipe(data, "shard=true")
    with pytest.raises(ConfigError, match="train=decoder instead"):
        recipe(data, "shard=true", "optimizer.name=adamw", stages=[{"freeze_encoder": True}])
    with pytest.raises(ConfigError, match="one process alone"):
        train(recipe(data, "shard=true", "optimizer.name=adamw"), tmp_path / "run")


def test_accelerate_launch_starts_them(data, tmp_path):
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe(data, stages=[{"steps": 2}])))
    code = "import sys; from cosmotok.training.command import train; from pathlib import Path; "
    code += "train(sys.argv[1], output=Path(sys.argv[2]), device='cpu')"
    (tmp_path / "go.py").write_text(code)
    # --multi_gpu is accelerate's way to several processes; the command itself asks for the CPU
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    run = subprocess.run(
        [*launch, str(tmp_path / "go.py"), str(tmp_path / "recipe.yaml"), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert len(lines(tmp_path / "run")) == 2
    assert run.stderr.count("step 2 of 2") == 1  # the first process talks alone
    Tokenizer.from_pretrained(tmp_path / "run")
    state = torch.load(tmp_path / "run" / "checkpoints" / "step-00000002" / "state.pt", weights_only=True)
    assert len(state["random"]) == 2  # there were two of them


def test_a_batch_that_processes_cannot_share_is_refused(data):
    with pytest.raises(InputError, match="multiple of 3"):
        training_data(recipe(data), 0, rank=0, world=3)


def test_processes_see_the_parts_of_one_batch(data):
    chosen = recipe(data, stages=[{"clips": 4, "images": 4}])
    whole, *parts = (
        training_data(chosen, 0, rank=rank, world=world).batches(0) for rank, world in ((0, 1), (0, 2), (1, 2))
    )
    for _ in range(5):
        batch = next(whole)
        assert json.dumps(batch.keys) == json.dumps([key for part in parts for key in next(part).keys])
