"""Time of `cosmotok --help` over that of importing typer and rich. Target: at most 2."""

from __future__ import annotations

import subprocess
import sys
import time

LIMIT = 2.0
RUNS = 7


def seconds(*arguments: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def measure() -> tuple[float, float]:
    """Seconds of importing and of helping: the best of several runs taken in turn, on what may be a busy machine."""
    runs = [
        (seconds("-c", "import typer, rich.console, rich.table"), seconds("-m", "cosmotok.cli", "--help"))
        for _ in range(RUNS)
    ]
    importing, helping = (min(column) for column in zip(*runs, strict=True))
    return importing, helping


def main() -> None:
    importing, helping = measure()
    print(f"importing typer and rich {importing:.3f} s, cosmotok --help {helping:.3f} s")
    print(f"ratio {helping / importing:.2f}, at most {LIMIT}")
    sys.exit(0 if helping <= LIMIT * importing else 1)


if __name__ == "__main__":
    main()
