"""Pictures for the asset pages, where people would rather look than read.

A plot is a function of the lake that returns Markdown with the picture inline, or None when there is nothing to see.
What belongs here: one reading query and a small PNG. What does not: numbers anyone relies on; those are datasets.
"""

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

from retention_pipelines.defs.statements import bound
from retention_pipelines.warehouse import Lake

Plot = Callable[[Lake], str | None]
_WIDTH, _HEIGHT, _DPI = 6.4, 3.8, 80


def _figure() -> tuple[Any, Any]:
    # Imported here: matplotlib takes as long as dagster to import, and most processes draw nothing.
    from matplotlib.figure import Figure

    # Fixed margins: a layout engine draws everything twice to find them.
    figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DPI)
    return figure, figure.add_axes((0.13, 0.14, 0.82, 0.76))


def _markdown(figure: Any, title: str) -> str:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return f"![{title}](data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()})"


def _map(title: str, rows: Sequence[tuple[float, float, float]], label: str) -> str | None:
    """Map of points (longitude, latitude, figure), larger figures darker."""
    if not rows:
        return None
    from matplotlib.colors import LogNorm

    longitudes, latitudes, figures = zip(*rows, strict=True)
    figure, axes = _figure()
    top = max(figures)
    # Counts of cells differ by orders of magnitude in most surveys; where they do not, plain ticks read better.
    norm = LogNorm(vmin=max(min(figures), 1), vmax=top) if top > 20 * max(min(figures), 1) else None
    points = axes.scatter(longitudes, latitudes, c=figures, s=14, marker="s", norm=norm, cmap="viridis_r")
    figure.colorbar(points, ax=axes, label=label)
    axes.set(title=title, xlabel="longitude, degrees east", ylabel="latitude, degrees north")
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(alpha=0.3)
    return _markdown(figure, title)


def _map_of(name: str, statement: str, title: str, label: str) -> Plot:
    def plot(lake: Lake) -> str | None:
        return _map(title, bound(lake, statement, rows=name), label)

    return plot


map_of_records = _map_of("occurrences", "map_of_positions", "Where the species records lie", "records per cell")
map_of_measurements = _map_of("observations", "map_of_positions", "Where the measurements lie", "measurements per cell")
map_of_studies = _map_of("feature_store", "map_of_studies", "Studies in the feature store", "studies per cell")
map_of_observations = _map_of(
    "aggregated_time_series", "map_of_windows", "Observations in the monthly series", "observations per cell"
)


def seasonal_cycle(lake: Lake) -> str | None:
    """Climatology of the surface quantity and cell with the most years."""
    rows = bound(lake, "seasonal_cycle", rows="seasonal_patterns")
    if not rows:
        return None
    variable, cell, dataset_id = rows[0][:3]
    figure, axes = _figure()
    axes.errorbar([row[3] for row in rows], [row[4] for row in rows], yerr=[row[5] or 0 for row in rows], marker="o")
    title = f"Seasonal cycle of {variable} in cell {cell}"
    axes.set(title=title, xlabel=f"month ({dataset_id}, up to {max(row[6] for row in rows)} years)", ylabel=variable)
    axes.set_xticks(range(1, 13))
    axes.grid(alpha=0.3)
    return _markdown(figure, title)


def richness_over_time(lake: Lake) -> str | None:
    """Mean richness of the cells per season, for each dataset."""
    rows = bound(lake, "richness_over_time", rows="biodiversity_statistics")
    if not rows:
        return None
    from matplotlib.dates import ConciseDateFormatter

    figure, axes = _figure()
    for dataset_id in sorted({row[0] for row in rows}):
        own = [row for row in rows if row[0] == dataset_id]
        axes.plot([row[1] for row in own], [row[2] for row in own], marker=".", label=dataset_id)
    title = "Richness over time: mean over cells, per season"
    axes.set(title=title, ylabel="taxa per cell and season", ylim=(0, None))
    dates = ConciseDateFormatter(axes.xaxis.get_major_locator())  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(dates)
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    return _markdown(figure, title)
