"""The quick part of `make fuzz`: some of all that is tried there, under the same labels; see docs/safety.md."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

sys.path.append(str(Path(__file__).with_name("hostile")))

import table
from arena import Arena
from cases import CLASSES
from faults import install
from trials import Trials, fault_labels, stock
from verbs import VERBS
from worlds import make_world

import cosmotok.cli
from cosmotok.errors import CosmotokError
from cosmotok.training.checkpoints import Checkpoints
from cosmotok.writing.system import Calls, calls

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are watched by Linux's means")
QUICK = [name for name, verb in VERBS.items() if not (verb.slow or verb.grows)]
THOROUGH = [name for name in VERBS if name not in QUICK]


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    arena, place = Arena(), tmp_path_factory.mktemp("hostile")
    yield Trials(arena, make_world(place / "world"), place / "trial")
    arena.close()


def wrong_with(trials: Trials, labels: list[str]) -> list[str]:
    """What is wrong, label by label: `python tests/hostile/fuzz.py --repeat LABEL` tries one again."""
    return [f"{trial.label}: {trial.wrong}" for trial in map(trials.run, labels) if trial.wrong]


@pytest.mark.parametrize("name", CLASSES)
def test_cases(name, trials):
    assert wrong_with(trials, [f"{name}:{seed}" for seed in range(1000, 1010)]) == []


@pytest.mark.parametrize("name", QUICK)
def test_calls_that_fail(name, trials):
    labels = fault_labels(name, stock(trials.arena, trials.world, name).calls)
    assert wrong_with(trials, Random(name).sample(labels, 3)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", THOROUGH)
def test_calls_that_fail_of_slow_verbs(name, trials):
    labels = fault_labels(name, stock(trials.arena, trials.world, name).calls)
    assert wrong_with(trials, Random(name).sample(labels, 8)) == []


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_kills(how, trials):
    assert wrong_with(trials, [f"{how}-{name}:0" for name in QUICK]) == []


def test_several_at_one_output(trials):
    assert wrong_with(trials, ["writers-encode:0", "reader-encode:0", "writers-convert:0", "reader-convert:0"]) == []


def test_the_oracle_sees_what_is_wrong(trials, monkeypatch):
    """A case that writes where it was not told to, and one that is to be refused and is not."""
    case = CLASSES["sources"](Random(0), trials.world, trials.place)
    case.job.arguments, case.outputs = ["convert", str(trials.world / "video"), "elsewhere"], ("out",)
    monkeypatch.setitem(CLASSES, "sources", lambda random, world, folder: set_folder(case, folder))
    wrong = trials.run("sources:0").wrong
    assert "not refused" in wrong
    assert any(text.startswith("wrote 'elsewhere'") for text in wrong)


def set_folder(case, folder):
    case.job.folder = str(folder)
    return case


def test_every_call_of_a_checkpoint_fails(tmp_path, monkeypatch):
    """The checkpoint before it is there, the new one whole or not at all, and then another can be written."""
    for name in vars(Calls):
        if not name.startswith("_"):
            monkeypatch.setattr(calls, name, getattr(Calls, name), raising=False)
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(1, {"step": 1})
    number, counter = 0, None
    while counter is None or counter.count >= number:
        number += 1
        counter = install(number, 28, lasting=number % 2 == 0)
        try:
            checkpoints.save(2, {"step": 2, "more": list(range(1000))})
        except CosmotokError as error:
            assert "goes on from step 1" in str(error)
        finally:
            install(0, 0, lasting=False)
        assert [checkpoints.load(step)["step"] for step in checkpoints.steps()] == checkpoints.steps()
        assert checkpoints.steps()[0] == 1
        assert not [path for path in tmp_path.rglob("*") if path.suffix == ".part"]
        checkpoints.save(2, {"step": 2})
        shutil.rmtree(checkpoints.path(2))
    assert number > 6


def test_tables(tmp_path):
    assert set(table.CASES) == set(CLASSES)
    entry = {"tried": 1200, "refused": 7, "failed": 0, "slowest": 1.5, "peak_mb": 431}
    wrong = dict.fromkeys(table.WRONG, 0)
    counts = {"seed": 3, "minutes": 30, "calls": {"encode": 17}, "tried": {"media": entry, "fault-encode": entry}}
    for name, total, rest in (
        ("a.md", "1,200", "| all | 17 | 1,200 |"),
        ("a.pt.md", "1.200", "| todos | 17 | 1.200 |"),
    ):
        page = tmp_path / name
        page.write_text("before\n<!-- fuzz -->\nold\n<!-- end of fuzz -->\nafter\n")
        for _ in range(2):  # written again, it is the same
            table.write_tables(counts | {"wrong": wrong}, [page])
        text = page.read_text()
        assert text.startswith("before\n")
        assert text.endswith("-->\nafter\n")
        assert "old" not in text
        assert f"| {total} |" in text
        assert rest in text


@pytest.mark.parametrize("what", ["return", "raise RuntimeError('what a library made of it')"])
def test_a_signal_that_a_library_swallowed(what):
    """It ends the command all the same, with one line."""
    code = f"""
import os, signal, sys
import cosmotok.cli.models as models
from cosmotok.command import main

def show(*_):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        {what}

models.print_table = show
sys.argv = ["cosmotok", "models"]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (130, "stopped; nothing half-written is left\n")


def test_a_signal_in_a_finalizer():
    """What is raised there is printed and lost, so the command ends on the spot."""
    code = """
import os, signal, sys
import cosmotok.cli.models as models
from cosmotok.command import main

class Finalized:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

models.print_table = lambda *_: Finalized() and None
sys.argv = ["cosmotok", "models"]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (130, "stopped; nothing half-written is left\n")


def test_a_second_signal_at_the_very_end():
    """It changes neither the exit code nor what was said."""
    code = """
import os, signal, sys
import cosmotok.cli.models as models
from cosmotok.command import main

class Last:
    def __del__(self, kill=os.kill, process=os.getpid(), number=signal.SIGTERM):
        kill(process, number)

last = Last()
models.print_table = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
sys.argv = ["cosmotok", "models"]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (130, "stopped; nothing half-written is left\n")


ARGUMENTS = {
    "convert cv4x8x8-tiny out --revision y": "only models on the Hub have a --revision",
    "convert cv4x8x8-tiny out --weights averaged": "has one set of weights",
    "convert klt:4x8x8:16 out": "convert takes a Cosmos tokenizer",
    "convert diffusers:Wan out": "convert takes a Cosmos tokenizer",
    "stats . -m h264": "a codec, not a tokenizer",
    "convert cv4x8x8-tiny ''": "an argument: expected a value",
    "reconstruct ''": "an argument: expected a value",
    "reconstruct x.png --precision ''": "--precision: expected a value",
    "reconstruct x.png -o ''": "-o: expected a value",
    "encode x.png --size=": "--size: expected a value",
}


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_arguments_that_would_be_ignored(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cosmotok", *shlex.split(arguments)])
    with pytest.raises(SystemExit) as end:
        cosmotok.cli.main()
    assert end.value.code != 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert ARGUMENTS[arguments] in lines[0]
    assert not list(tmp_path.iterdir())
