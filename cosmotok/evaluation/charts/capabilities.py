"""What every contestant can do: the paper's table 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cosmotok.contestants import Traits
from cosmotok.evaluation.charts.drawing import BLUE, WIDTH, shortened
from cosmotok.evaluation.tables import CAPABILITIES, capabilities, factors, tokens
from cosmotok.plotting import INK, QUIET, RULE


@dataclass(frozen=True)
class Table:
    """What every contestant can do: the paper's table 1."""

    rows: list[tuple[str, Traits]]
    name = "capabilities"
    title = "Capabilities"
    caption = (
        "Causal: no frame depends on a later one. Joint: images and videos share one latent space. "
        "Streaming: output comes while input goes on, in constant memory."
    )

    @property
    def words(self) -> str:
        said = []
        for name, traits in self.rows:
            able = [word for word, can in capabilities(traits).items() if can]
            said.append(f"{name}: {', '.join(able) or 'none'}")
        return f"{self.title}. " + "; ".join(said) + "."

    def draw(self, figure: Any) -> None:
        count = len(self.rows)
        figure.set_size_inches(WIDTH, 0.75 + 0.27 * (count + 1))
        axes = figure.add_subplot()
        axes.set_title(self.title, pad=8, x=0.006)
        axes.set_axis_off()
        axes.set_xlim(-0.006, 1)
        axes.set_ylim(count + 0.5, -0.5)
        places = [0.475 + 0.0785 * i for i in range(len(CAPABILITIES))]
        axes.axhline(0.5, color=INK, linewidth=0.9)
        for x, title in zip(places, CAPABILITIES, strict=True):
            axes.text(x, 0, title, ha="center", va="center", color=QUIET, fontsize="small")
        for row, (name, traits) in enumerate(self.rows, 1):
            axes.text(0, row, shortened(name), va="center")
            described = ", ".join(word for word in (factors(traits), tokens(traits)) if word != "–")
            axes.text(0.25, row, described, va="center", color=QUIET, fontsize="small")
            for x, can in zip(places, capabilities(traits).values(), strict=True):
                mark = {"s": "✓", "color": BLUE, "weight": "bold"} if can else {"s": "–", "color": "#b8c0c8"}
                axes.text(x, row, ha="center", va="center", **mark)
            axes.axhline(row + 0.5, color=RULE, linewidth=0.8)
