"""Charts of the benches, as plain SVG."""

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, LEFT, TOP, GAP = 760, 220, 60, 46, 70
INK, PALE, BAR, WORST, BOUND = "#1f2430", "#d9dce3", "#4f6bed", "#e08a00", "#c2261d"


def chart(title: str, panels: Sequence[str]) -> str:
    """A page of panels under each other."""
    height = TOP + len(panels) * (HEIGHT + GAP)
    body = "".join(
        f'<g transform="translate({LEFT},{TOP + number * (HEIGHT + GAP)})">{panel}</g>'
        for number, panel in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + LEFT + 20} {height}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{INK}">'
        f'<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{LEFT}" y="22" font-size="16">{escape(title)}</text>{body}</svg>\n'
    )


def bars(
    title: str, values: Sequence[float], *, top: float, bound: float, label: str, low: float = 0.0
) -> str:
    """One bar for each value between `low` and `top`, and a line at `bound` that is named."""
    step = WIDTH / max(1, len(values))

    def y(value: float) -> float:
        return HEIGHT - (min(top, max(low, value)) - low) / (top - low) * HEIGHT

    drawn = "".join(
        f'<rect x="{number * step:.2f}" y="{y(value):.2f}" width="{max(0.5, step - 0.6):.2f}" '
        f'height="{HEIGHT - y(value):.2f}" fill="{WORST if value in (min(values), max(values)) else BAR}"/>'
        for number, value in enumerate(values)
    )
    marks = "".join(
        f'<text x="-8" y="{y(mark) + 4:.1f}" text-anchor="end">{mark:g}</text>'
        f'<line x1="0" x2="{WIDTH}" y1="{y(mark):.1f}" y2="{y(mark):.1f}" stroke="{PALE}"/>'
        for mark in (low, (low + top) / 2, top)
    )
    line = (
        f'<line x1="0" x2="{WIDTH}" y1="{y(bound):.1f}" y2="{y(bound):.1f}" stroke="{BOUND}" stroke-dasharray="5 4"/>'
        f'<text x="{WIDTH}" y="{y(bound) - 5:.1f}" text-anchor="end" fill="{BOUND}">{escape(label)}</text>'
    )
    return f'<text x="0" y="-10">{escape(title)}</text>{marks}{drawn}{line}'
