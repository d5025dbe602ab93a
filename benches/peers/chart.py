"""Draws the figures of a run as an SVG: a group of bars for each kind of work, processor time a request."""

from xml.sax.saxutils import escape

COLOURS = {
    "floor": "#9aa5b1",
    "haproxy": "#3d7ea6",
    "nginx": "#5c9d5c",
    "envoy": "#b5654a",
    "scoregate": "#c8961e",
    "scoregate, log off": "#e3c57b",
}
LEFT, WIDTH, BAR, GAP, TOP = 230, 640, 15, 16, 54


def draw(figures: dict) -> str:
    """An SVG that reads on light and on dark pages."""
    parts: list[str] = []
    y = TOP
    for work, row in figures["work"].items():
        dearest = max(one["cpu_us"] for one in row.values())
        parts.append(text(8, y + 12, work, weight="600"))
        for peer, one in row.items():
            length = max(1.0, one["cpu_us"] / dearest * (WIDTH - LEFT - 90))
            parts.append(text(LEFT - 8, y + 12, peer, anchor="end"))
            parts.append(
                f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 2}" rx="2" fill="{COLOURS.get(peer, "#888")}"/>'
            )
            parts.append(text(LEFT + length + 6, y + 12, f"{one['cpu_us']:.1f} µs"))
            y += BAR
        y += GAP
    title = f"Processor time a request, {figures['taken']}; each group has a scale of its own; shorter is better"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 8}" font-family="system-ui, sans-serif" font-size="12">',
            f"<title>{escape(title)}</title>",
            "<style>text { fill: #222 } @media (prefers-color-scheme: dark) { text { fill: #ddd } }</style>",
            text(8, 24, title, weight="600"),
            *parts,
            "</svg>\n",
        ]
    )


def text(x: float, y: float, what: str, anchor: str = "start", weight: str = "400") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(what)}</text>'
