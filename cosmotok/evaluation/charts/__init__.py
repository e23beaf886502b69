"""The paper's pictures, drawn from what was measured: quality against compression, rate and speed; capabilities."""

from __future__ import annotations

from cosmotok.evaluation.charts.bars import Bars, bars
from cosmotok.evaluation.charts.capabilities import Table
from cosmotok.evaluation.charts.drawing import WIDTH, Chart, drawn, to_svg, write_chart
from cosmotok.evaluation.charts.planes import RATE, SPEED, Group, Mark, Plane, against, compression
from cosmotok.evaluation.results import Comparison
from cosmotok.evaluation.tables import KINDS, single_rates

__all__ = ["WIDTH", "Bars", "Chart", "Group", "Mark", "Plane", "Table", "charts_of", "drawn", "to_svg", "write_chart"]


def charts_of(comparison: Comparison) -> list[Chart]:
    """All that can be drawn of a comparison. What would compare nothing is not there."""
    models = [model for model in comparison.models if model.error is None]
    charts: list[Chart | None] = [compression(comparison, kind) for kind in ("continuous", "discrete")]
    charts += [against(models, kind, RATE) for kind in KINDS]
    charts += [against(models, kind, SPEED) for kind in KINDS]
    charts += [bars(models, kind) for kind in KINDS]
    if models:
        charts.append(Table(single_rates(models)))
    return [chart for chart in charts if chart is not None]
