"""Draws the figures of a run as an SVG that reads on light and on dark pages: bars of processor time, then the targets."""

import math
from xml.sax.saxutils import escape

import targets
from work import WORK

COLOURS = {
    "floor": "#8b95a1",
    "haproxy": "#4a8fc0",
    "nginx": "#5fa463",
    "envoy": "#c0694c",
    "scoregate": "#d19a1d",
    "scoregate, log off": "#d19a1d",
}
DRAWN = ("key-get", "key-post", "rs256", "rs256-new", "es256", "es256-new", "up-64k", "down-64k", "h2", "grpc", "tls", "tls-new")
WIDTH, COLUMN, BAR, NAMES = 1160, 580, 15, 130
# Left of the targets' scale are their names, right of it what was measured.
SCALE_FROM, SCALE_TO = 310, 420
LOWEST, HIGHEST = 1 / 4, 4
STYLE = """
  text { fill: #24292f } .quiet { fill: #59636e } .line { stroke: #59636e }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .quiet { fill: #9198a1 } .line { stroke: #9198a1 } }
"""


def text(x: float, y: float, what: str, anchor: str = "start", weight: str = "400", kind: str = "") -> str:
    class_ = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}"{class_}>{escape(what)}</text>'


def bars(name: str, row: dict, x: float, y: float) -> list[str]:
    what = next(work.what for work in WORK if work.name == name)
    parts = [text(x, y + 11, what, weight="600")]
    dearest = max(one["cpu_us"] for one in row.values())
    for number, (peer, one) in enumerate(row.items(), 1):
        top = y + 4 + number * BAR
        length = max(1.0, one["cpu_us"] / dearest * (COLUMN - NAMES - 110))
        ours = "600" if peer.startswith("scoregate") else "400"
        parts += [
            text(x + NAMES - 6, top + 11, peer, anchor="end", weight=ours),
            f'<rect x="{x + NAMES}" y="{top}" width="{length:.1f}" height="{BAR - 3}" rx="2" fill="{COLOURS.get(peer, "#888")}"/>',
            text(x + NAMES + length + 6, top + 11, f"{one['cpu_us']:.1f} µs", weight=ours),
        ]
    return parts


def target(row: targets.Row, x: float, y: float) -> list[str]:
    """A dot left of the line is a target met, a diamond right of it one that is missed; each doubling is as wide."""
    what, measured, wanted, _ = row.told()
    parts = [text(x, y + 11, what)]
    middle = (SCALE_FROM + SCALE_TO) / 2
    if row.measured is None:
        return [*parts, text(x + SCALE_TO + 10, y + 11, "not measured", kind="quiet")]
    share = row.limit / row.measured if row.at_least else row.measured / row.limit
    share = min(max(share, LOWEST), HIGHEST)
    at = x + middle + math.log(share) / math.log(HIGHEST) * (SCALE_TO - SCALE_FROM) / 2
    shape = (
        f'<circle cx="{at:.1f}" cy="{y + 7}" r="4.5" fill="#2f81c7"/>'
        if row.met
        else f'<path d="M{at:.1f} {y + 1.5} l5.5 5.5 l-5.5 5.5 l-5.5 -5.5 z" fill="#d4622a"/>'
    )
    line = f'<line class="line" x1="{x + middle}" x2="{at:.1f}" y1="{y + 7}" y2="{y + 7}" stroke-width="1.5"/>'
    return [*parts, line, shape, text(x + SCALE_TO + 10, y + 11, f"{measured} of {wanted[2:]}")]


def target_columns(rows: list[targets.Row], y: float) -> tuple[list[str], float]:
    half = (len(rows) + 1) // 2
    parts: list[str] = []
    for column, some in enumerate((rows[:half], rows[half:])):
        x = 8 + column * COLUMN
        middle = x + (SCALE_FROM + SCALE_TO) / 2
        parts.append(f'<line class="line" x1="{middle}" x2="{middle}" y1="{y}" y2="{y + len(some) * BAR}" stroke-dasharray="3 2"/>')
        for number, row in enumerate(some):
            parts += target(row, x, y + number * BAR)
    return parts, y + half * BAR


def draw(figures: dict) -> str:
    drawn = [(name, figures["work"][name]) for name in DRAWN if figures["work"].get(name)]
    versions = ", ".join(f"{name}: {what}" for name, what in figures["versions"].items() if "log off" not in name)
    title = "Processor time a request; each kind of work has a scale of its own; shorter is better"
    parts = [text(8, 22, title, weight="600"), text(8, 38, f"{figures['taken']}, {figures['machine']['processors']} processors", kind="quiet")]
    y = 52.0
    for left in range(0, len(drawn), 2):
        pair = drawn[left : left + 2]
        for column, (name, row) in enumerate(pair):
            parts += bars(name, row, 8 + column * COLUMN, y)
        y += (max(len(row) for _, row in pair) + 1) * BAR + 14
    parts.append(text(8, y + 16, "Targets: a dot left of the line is met, a diamond is missed; the scale is logarithmic", weight="600"))
    columns, y = target_columns(targets.rows(figures), y + 28)
    parts += columns
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 12:.0f}" font-family="system-ui, sans-serif" font-size="12">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(versions)}</desc>",
            f"<style>{STYLE}</style>",
            *parts,
            "</svg>\n",
        ]
    )
