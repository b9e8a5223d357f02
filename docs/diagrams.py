"""The drawings of the concept pages: `python docs/diagrams.py` writes them into docs/images/.

Each is an SVG on a ground of its own, so that it reads the same on light and on dark pages. Lengths
are in the SVG's own units, which are pixels at full size.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

IMAGES = Path(__file__).parent / "images"
WIDTH = 520

INK, QUIET, LINE, GROUND = "#12302e", "#51706d", "#2a8c82", "#f7fbfa"
FILLS = {"plain": "#ffffff", "strong": "#c9ebe6", "warm": "#fdeccb"}


class Drawing:
    """Boxes, arrows and words, collected as SVG elements."""

    def __init__(self, name: str, height: int, description: str) -> None:
        self.name, self.height, self.description = name, height, description
        self.parts: list[str] = []

    def box(
        self, x: float, y: float, width: float, height: float, words: str, fill: str = "plain"
    ) -> None:
        """A rounded box with lines of words in its middle; the first line is bold."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8" '
            f'fill="{FILLS[fill]}" stroke="{LINE}" stroke-width="1.5"/>'
        )
        lines = words.split("\n")
        top = y + height / 2 - 9 * (len(lines) - 1) + 5
        for place, line in enumerate(lines):
            self.words(x + width / 2, top + 18 * place, line, bold=place == 0, quiet=place > 0)

    def words(
        self, x: float, y: float, text: str, bold: bool = False, quiet: bool = False,
        anchor: str = "middle",
    ) -> None:  # fmt: skip
        """A line of words around, from or up to a point."""
        weight = ' font-weight="600"' if bold else ""
        colour, size = (QUIET, 12) if quiet else (INK, 13)
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" '
            f'fill="{colour}"{weight}>{escape(text)}</text>'
        )

    def arrow(self, *points: tuple[float, float]) -> None:
        """A line through the points, with a head at the last."""
        path = " ".join(
            f"{'L' if place else 'M'}{x:g} {y:g}" for place, (x, y) in enumerate(points)
        )
        self.parts.append(
            f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="2" '
            'marker-end="url(#head)"/>'
        )

    def bar(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        """A filled rectangle without an outline."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}"/>'
        )

    def svg(self) -> str:
        """The whole file."""
        head = (
            '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{LINE}"/></marker>'
        )
        return "\n".join(
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" '
                f'width="{WIDTH}" height="{self.height}" role="img" '
                'font-family="system-ui, -apple-system, Segoe UI, Roboto, sans-serif">',
                f"<title>{escape(self.description)}</title>",
                f"<defs>{head}</defs>",
                f'<rect width="{WIDTH}" height="{self.height}" rx="12" fill="{GROUND}"/>',
                *self.parts,
                "</svg>\n",
            )
        )


def pipeline() -> Drawing:
    """Modules, the fields between them, and what may vary."""
    it = Drawing("pipeline", 206, "Two modules wired by the field task, each with its own settings")
    it.box(14, 26, 92, 66, "inputs\ntable,\nquestion", "warm")
    it.box(150, 26, 104, 66, "locate", "strong")
    it.box(310, 26, 104, 66, "solve", "strong")
    it.arrow((106, 59), (148, 59))
    it.arrow((254, 59), (308, 59))
    it.words(281, 50, "task", quiet=True)
    it.arrow((414, 59), (446, 59))
    it.words(480, 64, "answer", bold=True)
    for x in (202, 362):
        it.arrow((x, 126), (x, 94))
    settings = "model, temperature, width, aggregator, prompt"
    it.box(92, 128, 380, 60, f"config: for each module a value for its\n{settings}")
    return it


def gateway() -> Drawing:
    """Who asks, what happens to a call, who answers."""
    it = Drawing(
        "gateway", 292, "Every call passes the gateway: cache, budget, limits, one request"
    )
    for place, who in enumerate(("modules", "diagnoser", "judge", "prompt writer")):
        y = 42 + 58 * place
        it.box(10, y, 114, 38, who, "warm")
        it.arrow((124, y + 19), (158, y + 19))
    it.box(160, 16, 206, 260, "")
    it.words(263, 40, "gateway", bold=True)
    steps = (
        "cache",
        "reserve the worst cost",
        "wait for the limits",
        "one request",
        "settle the real cost",
    )
    for place, step in enumerate(steps):
        it.box(172, 54 + 43 * place, 182, 32, step, "strong")
    for place, who in enumerate(
        ("providers\nby litellm", "your server\nOpenAI's form", "fakes\nsim/, recorded/")
    ):
        y = 58 + 64 * place
        it.box(400, y, 110, 48, who, "warm")
        it.arrow((366, y + 24), (398, y + 24))
    return it


def allocation() -> Drawing:
    """Ratings by module and model, a race of whole allocations, and what leads."""
    it = Drawing("allocation", 262, "Module scores choose which allocations race end to end")
    it.words(112, 30, "module scores", bold=True)
    shades = {"a": ("#1f7d74", "#e4f3f1"), "b": ("#d3ece8", "#2a8c82"), "c": ("#7cc4bb", "#b5dfd9")}
    for column, module in enumerate(("locate", "solve")):
        it.words(92 + 68 * column, 52, module, quiet=True)
    for row, (model, colours) in enumerate(shades.items()):
        it.words(42, 83 + 38 * row, f"model {model}", quiet=True)
        for column, colour in enumerate(colours):
            it.bar(72 + 60 * column, 62 + 38 * row, 56, 34, colour)
    it.words(112, 194, "each model in each module,", quiet=True)
    it.words(112, 210, "rated by the diagnoser", quiet=True)
    it.arrow((194, 116), (236, 116))
    it.box(238, 62, 138, 110, "race\nwhole allocations\non the same\nsearch examples", "strong")
    it.arrow((376, 116), (408, 116))
    it.box(410, 74, 100, 84, "leader\nif it earns\nits place", "warm")
    it.arrow((460, 158), (460, 240), (112, 240), (112, 218))
    it.words(306, 232, "until no module changes", quiet=True)
    return it


def network() -> Drawing:
    """A module of several members and an aggregator."""
    it = Drawing("network", 226, "Three members answer; an aggregator makes one answer of theirs")
    it.box(126, 14, 306, 198, "")
    it.words(279, 38, "one module", bold=True)
    it.box(10, 104, 84, 38, "question", "warm")
    for place, member in enumerate(("model a", "model a again", "model b")):
        y = 50 + 54 * place
        it.box(144, y, 124, 38, member, "strong")
        it.arrow((94, 123), (142, y + 19))
        it.arrow((268, y + 19), (306, 99 + 24 * place))
    it.box(308, 82, 110, 82, "aggregator\nvote, judge,\ncascade, ...", "strong")
    it.arrow((418, 123), (448, 123))
    it.words(482, 128, "answer", bold=True)
    return it


def holdout() -> Drawing:
    """The search examples choose, the held-out ones measure."""
    it = Drawing(
        "holdout", 250, "The search chooses on one part of the data; the rest is scored once"
    )
    it.box(14, 16, 300, 42, "search examples", "strong")
    it.box(320, 16, 186, 42, "held out", "warm")
    it.arrow((164, 58), (164, 84))
    it.box(14, 86, 266, 60, "trials\nestimates, used to choose")
    it.arrow((280, 116), (318, 116))
    it.words(299, 108, "pick", quiet=True)
    it.box(320, 86, 186, 60, "scored once\nbaseline, best single, tuned")
    it.arrow((413, 58), (413, 84))
    it.arrow((413, 146), (413, 174))
    it.box(320, 176, 186, 60, "what is claimed\nmeans and paired gains,\n95% intervals", "warm")
    return it


DRAWINGS = (pipeline, gateway, allocation, network, holdout)


def main() -> None:
    """Write all of them."""
    for draw in DRAWINGS:
        drawing = draw()
        (IMAGES / f"{drawing.name}.svg").write_text(drawing.svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
