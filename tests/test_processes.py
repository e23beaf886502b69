"""Processes that work for this one end with it, and leave nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cosmotok.processes import PATIENCE, Remote
from cosmotok.writing import output_file

ALONE = """
from pathlib import Path
from test_processes import Writing
from cosmotok.processes import Remote
if __name__ == "__main__":
    with Remote(Writing) as remote:
        remote.call("write", Path({folder!r}))
"""


class Writing:
    """Never gets to the end of its file."""

    def write(self, folder: Path) -> None:
        with output_file(folder / "file") as file:
            file.write(b"half")
            (folder / "process").write_text(str(os.getpid()))
            time.sleep(600)


class Undoing:
    """Takes a while for it."""

    def write(self, folder: Path) -> None:
        try:
            (folder / "begun").touch()
            time.sleep(600)
        finally:
            time.sleep(1)
            (folder / "undone").touch()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_call_that_is_not_waited_for_undoes_what_it_wrote(tmp_path: Path) -> None:
    with Remote(Writing) as remote:
        remote.begin("write", tmp_path)
        wait_until((tmp_path / "process").exists)
        begin = time.monotonic()
    assert time.monotonic() - begin < PATIENCE
    assert [path.name for path in tmp_path.iterdir()] == ["process"]


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGTERM")
def test_a_second_call_to_end_does_not_stop_the_undoing(tmp_path: Path) -> None:
    with Remote(Undoing) as remote:
        remote.begin("write", tmp_path)
        wait_until((tmp_path / "begun").exists)
        remote.stop()
        time.sleep(0.3)
    assert (tmp_path / "undone").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_a_process_leaves_when_the_one_that_it_works_for_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "alone.py"
    script.write_text(ALONE.format(folder=str(tmp_path)))
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": paths}) as process:
        wait_until((tmp_path / "process").exists)
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: {path.name for path in tmp_path.iterdir()} == {"alone.py", "process"})
    number = int((tmp_path / "process").read_text())
    wait_until(lambda: not is_running(number))


def is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{number}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
