"""The counts of a run of `fuzz.py` as tables, in the pages that have a place for them.

python tests/hostile/table.py build/fuzz.json docs/safety.md docs/safety.pt.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- fuzz -->", "<!-- end of fuzz -->"
CASES = {
    "media": ("damaged images and videos", "imagens e vídeos danificados"),
    "headers": ("headers that promise what is not there", "cabeçalhos que prometem o que não há"),
    "tokens": ("token files", "arquivos de tokens"),
    "data_sets": ("data sets of tokens", "conjuntos de dados de tokens"),
    "models": ("models in all formats", "modelos em todos os formatos"),
    "options": ("options and arguments", "opções e argumentos"),
    "names": ("names and kinds of files", "nomes e tipos de arquivos"),
    "sources": ("outputs that are inputs", "saídas que são entradas"),
    "api": ("calls of the Python interface", "chamadas da interface em Python"),
}
WRONG = {
    "tracebacks": ("tracebacks", "tracebacks"),
    "hangs": ("hangs (over 10 s)", "travamentos (mais de 10 s)"),
    "outside": ("files written or left outside the output", "arquivos gravados ou deixados fora da saída"),
    "lost": ("outputs lost or damaged", "saídas perdidas ou danificadas"),
    "memory": ("refused inputs that took more than 1 GB", "entradas recusadas que tomaram mais de 1 GB"),
    "other": ("anything else, such as two lines for an error", "outras falhas, como duas linhas para um erro"),
}
HEADS = {
    "cases": (("generated cases", "tried"), ("casos gerados", "tentados")),
    "verbs": (
        ("verb", "calls that write", "failures of them", "SIGKILL", "SIGTERM", "two writers", "readers"),
        ("verbo", "chamadas que gravam", "falhas delas", "SIGKILL", "SIGTERM", "dois gravam", "leitores"),
    ),
    "wrong": (("in all of these", "times"), ("em tudo isso", "vezes")),
}
ALL = ("all", "todos")
PEAK = ("peak memory of a refused input, MB", "pico de memória de uma entrada recusada, MB")
SAID = (
    "A run of {minutes} minutes, with seed {seed}:",
    "Uma execução de {minutes} minutos, com a semente {seed}:",
)
WAYS = ("fault", "SIGKILL", "SIGTERM", "writers", "reader")


def number(value: int, language: int) -> str:
    return f"{value:,}".replace(",", ".") if language else f"{value:,}"


def lines(head: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    head = list(head)
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows)).replace("| ---", "|---")


def tables(counts: dict[str, Any], language: int) -> str:
    """All tables; language 0 is English, 1 Portuguese."""
    tried, refused = counts["tried"], []

    def times(what: str) -> int:
        return tried.get(what, {}).get("tried", 0)

    cases = [(names[language], times(name)) for name, names in CASES.items()]
    cases.append((ALL[language], sum(count for _, count in cases)))
    verbs = [(f"`{name}`", calls, *(times(f"{way}-{name}") for way in WAYS)) for name, calls in counts["calls"].items()]
    sums = [sum(row[column] for row in verbs) for column in range(1, len(WAYS) + 2)]
    verbs.append((ALL[language], *sums))
    refused = [tried.get(name, {}).get("peak_mb", 0) for name in CASES]
    wrong = [(names[language], counts["wrong"][name]) for name, names in WRONG.items()]
    wrong.append((PEAK[language], max(refused)))
    parts = [SAID[language].format(minutes=counts["minutes"], seed=counts["seed"])]
    for name, rows in (("cases", cases), ("verbs", verbs), ("wrong", wrong)):
        texts = [(str(row[0]), *(number(value, language) for value in row[1:])) for row in rows]
        parts.append(lines(HEADS[name][language], texts))
    return "\n\n".join(parts)


def write_tables(counts: dict[str, Any], pages: Iterable[Path]) -> None:
    for page in pages:
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        text = tables(counts, int(page.name.endswith(".pt.md")))
        page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    write_tables(json.loads(Path(sys.argv[1]).read_text()), map(Path, sys.argv[2:]))
