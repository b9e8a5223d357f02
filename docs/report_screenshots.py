"""Screenshots of a report for the docs: `python docs/report_screenshots.py [REPORT.html] [FOLDER]`.

Without a report, the demo's is made. Headless Chromium takes it at three widths, at the middle one
dark, and with a trace open. `report.png` and `trace.png` are the docs' own pictures.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from optimizer.cli import main as command_line


class Shot(NamedTuple):
    """One picture: of the page in a frame of this size, after this script has run in it."""

    name: str
    width: int
    height: int
    dark: bool = False
    script: str = ""


TRACE = "document.querySelector('[data-example]').click()"
SHOTS = (
    Shot("report", 1000, 960),
    Shot("trace", 1000, 760, script=TRACE),
    Shot("report-1400", 1400, 3200),
    Shot("report-800-dark", 800, 3200, dark=True),
    Shot("report-390", 390, 3200),
    Shot("trace-390", 390, 900, script=TRACE),
)


def take(shot: Shot, page: str, folder: Path, browser: str) -> Path:
    """One start of the browser."""
    picture = folder / f"{shot.name}.png"
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        page = re.sub('script-src [^"]*', "script-src 'unsafe-inline'", page, count=1)
        page = page.replace("</body>", f"<script>{shot.script}</script></body>")
        (place / "page.html").write_text(page, encoding="utf-8")
        scheme = "dark" if shot.dark else "light"
        frame = (  # Chromium's own window has a least width of 500 pixels
            "<!doctype html><style>* { margin: 0; border: 0 } body { overflow: hidden }</style>"
            f'<iframe src="page.html" scrolling="no" width="{shot.width}" height="{shot.height}"'
            f' style="color-scheme: {scheme}"></iframe>'
        )
        (place / "frame.html").write_text(frame, encoding="utf-8")
        options = (
            "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={place / 'profile'}", f"--window-size={shot.width},{shot.height}",
            "--virtual-time-budget=3000", f"--screenshot={picture.resolve()}",
        )  # fmt: skip
        command = [browser, *options, (place / "frame.html").as_uri()]
        subprocess.run(command, check=True, capture_output=True)
    return picture


def main(report: Path | None, folder: Path) -> None:
    """Take all of them."""
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("no Chromium is installed")
    with tempfile.TemporaryDirectory() as name:
        if report is None:
            command_line(["demo", "--folder", name])
            report = Path(name) / "report.html"
        page = report.read_text(encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    for shot in SHOTS:
        print(take(shot, page, folder, browser))


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    main(given[0] if given else None, given[1] if len(given) > 1 else Path("screenshots"))
