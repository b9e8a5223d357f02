"""Screenshots for the docs, of the demo: `python docs/screenshots.py [FOLDER]`.

Runs the demo, and takes its report, what it prints in a terminal, and its runs in MLflow's UI with
headless Chromium. `report.png`, `trace.png`, `terminal.png` and `mlflow_trials.png` are the docs'
own pictures; the others show the report at further widths, and dark.
"""

from __future__ import annotations

import contextlib
import html
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from optimizer.cli import main as command_line
from optimizer.tracking.saved_view import VIEW


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
TERMINAL = Shot("terminal", 900, 760)
TRIALS = Shot("mlflow_trials", 1700, 640)
ASSISTANT = 430
"""Pixels on the right of MLflow's page that its assistant takes; cut off."""
STARTS_S = 120.0
"""How long MLflow's server may take to start."""


def of_page(shot: Shot, page: str, folder: Path) -> Path:
    """A picture of an HTML page."""
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
        return of_address(shot, (place / "frame.html").as_uri(), folder)


def of_address(shot: Shot, address: str, folder: Path, wait_ms: int = 3000) -> Path:
    """A picture of what is at this address: one start of the browser."""
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("no Chromium is installed")
    picture = folder / f"{shot.name}.png"
    with tempfile.TemporaryDirectory() as profile:
        options = (
            "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={profile}", f"--window-size={shot.width},{shot.height}",
            f"--virtual-time-budget={wait_ms}", f"--screenshot={picture.resolve()}",
        )  # fmt: skip
        subprocess.run([browser, *options, address], check=True, capture_output=True)
    return picture


def terminal_page(text: str) -> str:
    """What a command printed, as a page."""
    style = "background: #1e1e1e; color: #e4e4e4; font: 13px/1.4 monospace; padding: 16px"
    return f'<!doctype html><body style="{style}"><pre>{html.escape(text)}</pre></body>'


@contextlib.contextmanager
def mlflow_server(store: str) -> Iterator[str]:
    """The address of MLflow's UI on this store."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ("--backend-store-uri", store, "--port", str(port), "--workers", "1")
    command = [sys.executable, "-m", "mlflow", "server", *options]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as server:
        address, end = f"http://127.0.0.1:{port}", time.monotonic() + STARTS_S
        try:
            while time.monotonic() < end and server.poll() is None:
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health"):
                    break
                time.sleep(0.5)
            yield address
        finally:
            server.terminate()


def shrink(picture: Path, cut_right: int = 0) -> Path:
    """Cut a strip off, and keep 256 colours, which text and plain figures need."""
    with Image.open(picture) as whole:
        kept = whole.convert("RGB").crop((0, 0, whole.width - cut_right, whole.height))
    kept.quantize(256).save(picture, optimize=True)
    return picture


def main(folder: Path) -> None:
    """Run the demo, and take all of them."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        store = f"sqlite:///{name}/mlflow.db"
        os.environ["MLFLOW_TRACKING_URI"] = store
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            command_line(["demo", "--folder", "demo"])
        text = printed.getvalue().replace(f"{name}/", "").partition("\nNext\n")[0]
        print(
            shrink(of_page(TERMINAL, terminal_page(f"$ compound-optimizer demo\n{text}"), folder))
        )
        page = Path("demo", "report.html").read_text(encoding="utf-8")
        for shot in SHOTS:
            print(shrink(of_page(shot, page, folder)))
        with mlflow_server(store) as address:
            runs = f"{address}/#/experiments/1/runs?viewStateShareKey={VIEW}"
            print(shrink(of_address(TRIALS, runs, folder, wait_ms=20_000), cut_right=ASSISTANT))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("screenshots"))
