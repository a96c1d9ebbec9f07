"""Bar charts as SVG that needs nothing beside it: in a page, or as an image in Dagster's UI."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from markupsafe import Markup

ROW = 24
LABEL_WIDTH = 240
BAR_WIDTH = 400
WIDTH = 720
LONGEST_LABEL = 34

_CHART = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {width} {height}" '
    'width="{width}" height="{height}" role="img" aria-labelledby="{id}-title {id}-desc" '
    'font-family="system-ui, sans-serif" font-size="13" fill="#1c2430">'
    '<title id="{id}-title">{title}</title><desc id="{id}-desc">{desc}</desc>{bars}</svg>'
)
_BAR = Markup(
    '<text x="{label_x}" y="{text_y}" text-anchor="end">{label}</text>'
    '<rect x="{bar_x}" y="{bar_y}" width="{length:.1f}" height="17" rx="2" fill="#3b6ea5"/>'
    '<text x="{number_x:.1f}" y="{text_y}">{number:,}</text>'
)


def bar_chart(id: str, title: str, numbers: Sequence[tuple[str, int]]) -> Markup:
    """Labelled numbers as horizontal bars. id: the chart's own in its page. Title and description,
    which says every number, are for who cannot see it."""
    most = max((number for _, number in numbers), default=0) or 1
    bars = Markup("").join(
        _BAR.format(
            label=label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…",
            number=number,
            length=max(BAR_WIDTH * number / most, 1),
            label_x=LABEL_WIDTH - 8,
            bar_x=LABEL_WIDTH,
            number_x=LABEL_WIDTH + 6 + BAR_WIDTH * number / most,
            bar_y=place * ROW + 3,
            text_y=place * ROW + 16,
        )
        for place, (label, number) in enumerate(numbers)
    )
    desc = ", ".join(f"{label} {number:,}" for label, number in numbers)
    return _CHART.format(
        id=id, title=title, desc=desc, bars=bars, width=WIDTH, height=ROW * len(numbers) + 4
    )


def as_markdown(chart: Markup, alt: str) -> str:
    """A chart as an image in MarkDown, which Dagster's UI shows."""
    return f"![{alt}](data:image/svg+xml;base64,{base64.b64encode(chart.encode()).decode()})"
