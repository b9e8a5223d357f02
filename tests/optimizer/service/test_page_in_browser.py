"""The service's page as a browser shows it: Chromium opens it, and a script acts as a user."""

from __future__ import annotations

import base64
import hashlib
import json
import queue as threads
import re
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from optimizer.service import api, queue
from optimizer.service.queue import Ending, Leased, WorkerFacts
from optimizer.service.tokens import token_of
from optimizer.version import library_version
from pipelines.patterns import locate_solve
from pipelines.providers.simulated import simulated_dataset
from tests.optimizer.results.test_page_in_browser import BROWSER
from tests.optimizer.service.served import SECRET, Served

pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")

ACTING = Path(__file__).with_name("act_on_page.js")
FRAME = '<iframe src="/" width="390" height="900" style="border: 0; color-scheme: dark"></iframe>'
HOSTILE = "<img src=x onerror='window.injected = true'>"
INTERVAL = {"low": 0.6, "high": 0.9}


class Stage:
    """What the script asks for behind the scenes: it plays the worker, and takes the findings."""

    def __init__(self) -> None:
        self.found: threads.Queue[dict[str, Any]] = threads.Queue()
        self.served: Served | None = None

    def routes(self, app: FastAPI) -> None:
        @app.get("/frame")
        def frame() -> HTMLResponse:
            return HTMLResponse(FRAME)

        @app.get("/stage/{step}")
        def work(step: str) -> None:
            getattr(self, step)()

        @app.post("/found")
        async def found(request: Request) -> None:
            self.found.put(await request.json())

    def _lease(self) -> Leased:
        assert self.served is not None
        worker = WorkerFacts("w1", library_version(), "here", [])
        leased = queue.lease(self.served.database, worker, 60.0)
        assert leased is not None
        return leased

    def trial(self) -> None:
        assert self.served is not None
        trial = {"number": 0, "stage": "baseline", "changed": HOSTILE, "status": "complete",
                 "score": 0.5, "examples": 8}  # fmt: skip
        self.leased = self._lease()
        progress = {"best": 0.5, "stage": "baseline", "turn": 0}
        queue.renew(self.served.database, self.leased, 60.0, (0.25, 10), progress,
                    [("trial", trial)])  # fmt: skip

    def stopped(self) -> None:
        assert self.served is not None
        queue.end(self.served.database, self.leased, Ending("stopped", 0.3, 12))

    def done(self) -> None:
        assert self.served is not None
        tuned = {"score": {"mean": 0.75, **INTERVAL}, "usd_per_example": 0.001}
        figures = {"tuned": tuned, "baseline": {"score": {"mean": 0.5, **INTERVAL}},
                   "measured_on": "holdout", "config": {"solve.model": self.leased.id[:4]},
                   "holdout_digest": ""}  # fmt: skip
        files = {"config.yaml": b"name: x\n", "report.html": b"<p>"}
        leased = self._lease()
        figures["config"] = {"solve.model": leased.id[:4]}
        queue.end(self.served.database, leased, Ending("done", 0.3, 12, figures, None, files))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the script saw in a dark window of 390 pixels."""
    folder = tmp_path_factory.mktemp("page")
    given = {
        "yaml": locate_solve().to_yaml(), "token": SECRET,
        "rows": json.dumps(simulated_dataset("locate_solve", 12, rows=3)),
    }  # fmt: skip
    script = ACTING.read_text(encoding="utf-8").replace("GIVEN", json.dumps(given))
    page, policy = api._page()
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = policy.replace("script-src ", f"script-src 'sha256-{allowed}' ")
    policy = policy.replace("frame-ancestors 'none'", "frame-ancestors 'self'")
    page = page.replace("</body>", f"<script>{script}</script></body>")
    ana = token_of("ana", SECRET).model_copy(update={"usd": 5.0})
    stage = Stage()
    with patch.object(api, "_page", lambda: (page, policy)):
        served = Served(f"sqlite:///{folder / 'service.db'}", tokens=[ana], routes=stage.routes)
    stage.served = served
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
               f"--user-data-dir={folder / 'profile'}")  # fmt: skip
    log = folder / "log"
    with log.open("w") as errors:
        browser = subprocess.Popen([BROWSER, *options, f"{served.address}/frame"], stderr=errors)
        try:
            seen = stage.found.get(timeout=120)
        except threads.Empty:
            pytest.fail(f"the script did not end: {log.read_text()[-3000:]}")
        finally:
            browser.terminate()
            browser.wait()
            served.stop()
    console = re.findall(r'CONSOLE[^"]*"(.*)", source', log.read_text())
    return {**seen, "console": console}


def test_the_script_came_to_its_end(found: dict[str, Any]) -> None:
    assert found.get("failed") is None
    refused = [line for line in found["console"] if "status of 4" not in line]
    assert refused == ["the end"], "what the service refuses is logged by the browser itself"


def test_a_wrong_token_is_refused_and_the_right_one_kept_for_the_tab(found: dict[str, Any]) -> None:
    assert "a valid token is needed" in found["wrong_token"]
    assert found["kept"] == SECRET
    assert found["caps"].startswith("ana: $0.00 of $5.00 and 0 calls are spent")


def test_what_is_refused_is_shown_in_the_words_of_optimize(found: dict[str, Any]) -> None:
    assert "sim/nobody" in found["refused"]
    assert "exceeds what token 'ana' has left: $5.00 of $5.00" in found["over_budget"]


def test_a_search_is_estimated_submitted_and_watched(found: dict[str, Any]) -> None:
    assert "estimated, nothing was called" in found["estimate"]
    assert found["queued"].startswith("queued, waits for a worker: none is running")
    assert "trial 0 (baseline): 50.0% on 8, complete <img" in found["events"]
    assert not found["injected"]
    assert "best so far 50.0% (estimate)" in found["running"]
    assert found["used"] == pytest.approx(0.5)


def test_it_is_stopped_resumed_done_and_compared(found: dict[str, Any]) -> None:
    assert found["stopping"].startswith("stopping")
    assert found["stopped"].startswith("stopped")
    assert found["resumed"].startswith("queued")
    assert "50.0% → 75.0% [60.0%, 90.0%] (holdout)" in found["done"]
    assert found["artifacts"] == ["config.yaml", "report.html"]
    assert found["compared"].count("50.0% → 75.0%") == 2
    assert "solve.model: " in found["compared"]


def test_it_fits_a_dark_phone(found: dict[str, Any]) -> None:
    assert found["window"] == 390
    assert found["page"] <= 390
    assert found["sticking_out"] == []
    assert found["paper"] < 60
    assert found["ink"] > 200


def test_nothing_is_asked_of_others_and_everything_has_a_name(found: dict[str, Any]) -> None:
    assert found["asked_of"] == [found["origin"]]
    assert found["unnamed"] == []
    assert found["unreachable"] == []
