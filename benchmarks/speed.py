"""Speed of the bundled models at 256 x 256: `cosmotok benchmark` measures the same, and more."""

from __future__ import annotations

import sys

from cosmotok.benchmark import benchmark
from cosmotok.benchmark.table import print_report


def main() -> None:
    report = benchmark(["cv4x8x8-tiny", "dv4x8x8-tiny"], frames=[33])
    print_report(report)
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
