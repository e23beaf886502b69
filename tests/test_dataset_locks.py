"""Two runs on one output at a URL: at most one of them writes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest
from test_tokenize import MODEL, SMALL, bucket, clips  # noqa: F401 - fixtures

from cosmotok.dataset import run as run_module
from cosmotok.dataset import storage as module
from cosmotok.dataset.run import tokenize
from cosmotok.dataset.storage import RemoteStorage, Storage, storage_at
from cosmotok.errors import InputError

HOLD = """
import sys, time
from cosmotok.dataset.storage import storage_at
from cosmotok.errors import InputError
for turn in range(2):
    storage = storage_at(f"{sys.argv[1]}/out-{turn}")
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        with storage.held():
            begin = time.time()
            time.sleep(1.5)
            print(begin, time.time(), flush=True)
    except InputError as error:
        print("refused", error, flush=True)
"""


def test_processes_that_begin_at_once_do_not_both_write(bucket: str) -> None:  # noqa: F811
    command = [sys.executable, "-c", HOLD, bucket]
    runs = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for _ in range(2):
        for run in runs:
            assert run.stdout is not None and run.stdout.readline() == "ready\n"
        for run in runs:
            assert run.stdin is not None
            run.stdin.write("\n")
            run.stdin.flush()
        said = [run.stdout.readline() for run in runs if run.stdout is not None]
        spans = sorted(tuple(map(float, each.split())) for each in said if not each.startswith("refused"))
        assert spans, said
        assert all(before[1] <= after[0] for before, after in pairwise(spans)), said
    for run in runs:
        run.communicate()


def test_one_that_looks_before_the_other_has_written_sees_it_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment between looking for another run and saying that this one is there."""
    monkeypatch.setattr(module, "GIVEN_WAY", (0.01, 0.01))
    url, write, held = "memory://race/tokens", RemoteStorage.write, []
    other = storage_at(url)

    def late(self: Storage, name: str, content: bytes) -> None:
        if self is not other and "lock" in name and not held:
            held.append(other.held())
            held[0].__enter__()
        write(self, name, content)

    monkeypatch.setattr(RemoteStorage, "write", late)
    with pytest.raises(InputError, match="another run is writing"), storage_at(url).held():
        pass
    held[0].__exit__(None, None, None)
    with storage_at(url).held():
        pass


def test_of_runs_that_begin_together_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GIVEN_WAY", (0.1, 0.1, 0.1))
    url, both, ends = "memory://together/tokens", threading.Barrier(2), []
    locks = RemoteStorage._locks

    def at_once(self: RemoteStorage) -> set[str]:
        if not both.broken and both.n_waiting < 2 and not hasattr(self, "waited"):
            self.waited = True  # type: ignore[attr-defined]
            both.wait(5)
        return locks(self)

    def run() -> None:
        try:
            with storage_at(url).held():
                ends.append("held")
                time.sleep(0.5)
        except InputError:
            ends.append("refused")

    monkeypatch.setattr(RemoteStorage, "_locks", at_once)
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["held", "refused"]


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff 1 2 3", b"mark never"])
def test_a_lock_that_nobody_understands_is_named(clips: Path, content: bytes, monkeypatch) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    url = "memory://odd/tokens"
    storage_at(url).write(".plan/lock", content)
    with pytest.raises(InputError, match=r"another run .*remove memory://odd/tokens/\.plan/lock$"):
        tokenize([str(clips)], url, MODEL, options=SMALL)
    monkeypatch.setattr(module, "STALE", -1.0)  # a minute later
    with storage_at(url).held():
        assert "lock" not in storage_at(url).sizes(".plan")


def test_a_run_that_was_taken_for_dead_ends(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(module, "ALIVE", 0.05)
    url = "memory://asleep/tokens"
    there = storage_at(url)

    def taken_over(step: object) -> None:
        for name in there.sizes(".plan"):
            if name.startswith("lock"):
                there.remove(f".plan/{name}")
        time.sleep(0.3)

    with pytest.raises(InputError, match="another run has taken over"):
        tokenize([str(clips)], url, MODEL, options=SMALL, advance=taken_over)
    assert tokenize([str(clips)], url, MODEL, options=SMALL).complete


def test_a_data_set_that_another_run_has_changed_just_now(
    clips: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the look at its manifest and the lock."""
    output, both = str(tmp_path / "out"), [str(clips / "0.mp4"), str(clips / "1.mp4")]
    with monkeypatch.context() as meanwhile:

        def late(names: list[str]) -> list:
            meanwhile.undo()
            tokenize(both, output, MODEL, options=SMALL)
            return run_module.find_sources(names)

        meanwhile.setattr(run_module, "find_sources", late)
        with pytest.raises(InputError, match="changed this data set just now"):
            tokenize(both[:1], output, MODEL, options=SMALL)
    assert tokenize(both, output, MODEL, options=SMALL).complete
