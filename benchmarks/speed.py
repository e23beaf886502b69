"""Speed of the bundled models at 256 x 256: `cosmotok benchmark` measures the same, and more."""

from __future__ import annotations

import sys

from cosmotok.benchmark import benchmark
from cosmotok.benchmark.table import print_report
from cosmotok.config import bundled_models


def main() -> None:
    report = benchmark([entry.name for entry in bundled_models()], frames=[33])
    print_report(report)
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
