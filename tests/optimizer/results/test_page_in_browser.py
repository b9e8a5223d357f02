"""The report as a browser shows it: Chromium runs the page and a script that looks at it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from optimizer.results.result import Result
from tests.optimizer.made import make_shown_result

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), "")
pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")

WIDTHS = (390, 800, 1400)
DARK = 800
"""At this width the system prefers dark colours."""
LOOK = Path(__file__).with_name("look_at_page.js")


FRAMES = """<!doctype html><script>
const found = {};
addEventListener("message", ({data}) => {
  found[data.window] = data;
  if (Object.keys(found).length < 3) return;
  const bytes = new TextEncoder().encode(JSON.stringify(found));
  const written = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  document.body.innerHTML = `<pre id="seen">${btoa(written)}</pre>`;
});
</script><body>"""


class Looked(NamedTuple):
    """What the script found by width, and what the console said."""

    found: dict[str, dict[str, Any]]
    console: list[str]


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Looked:
    """One start of the browser: a frame of each width, whose script posts what it finds."""
    folder = tmp_path_factory.mktemp("page")
    make_shown_result().report(folder / "report.html")
    script = LOOK.read_text(encoding="utf-8")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = (folder / "report.html").read_text(encoding="utf-8")
    page = page.replace("script-src ", f"script-src 'sha256-{allowed}' ", 1)
    page = page.replace("</body>", f"<script>{script}</script></body>")
    (folder / "report.html").write_text(page, encoding="utf-8")
    frames = (
        f'<iframe src="report.html" width="{width}" height="900" style="border: 0; color-scheme: '
        f'{"dark" if width == DARK else "light"}"></iframe>'
        for width in WIDTHS
    )
    (folder / "frames.html").write_text(FRAMES + "".join(frames), encoding="utf-8")
    options = (
        "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
        f"--user-data-dir={folder / 'profile'}", "--window-size=1500,1000",
        "--virtual-time-budget=5000",
    )  # fmt: skip
    command = [BROWSER, *options, (folder / "frames.html").as_uri()]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)
    found = re.search(r'<pre id="seen">([\w+/=]+)</pre>', done.stdout)
    assert found, f"the script did not end: {done.stderr[-2000:]}"
    console = re.findall(r'CONSOLE[^"]*"(.*)", source', done.stderr)
    return Looked(json.loads(base64.b64decode(found[1])), console)


@pytest.fixture(params=WIDTHS)
def seen(request: pytest.FixtureRequest, looked: Looked) -> dict[str, Any]:
    return looked.found[str(request.param)]


def test_the_console_has_no_errors(looked: Looked) -> None:
    assert looked.console == ["the end"] * 3, "the script's own last words show that it is read"


def test_nothing_is_wider_than_the_window(seen: dict[str, Any]) -> None:
    assert seen["page"] <= seen["window"]
    assert seen["sticking_out"] == []


def test_every_figure_is_drawn_and_no_text_of_it_is_cut(seen: dict[str, Any]) -> None:
    assert len(seen["figures"]) == 7
    for name, width, height, elements in seen["figures"]:
        assert width > 100, name
        assert height > 80, name
        assert elements > 10, name
    assert seen["cut_texts"] == []


def test_no_heading_is_cut(seen: dict[str, Any]) -> None:
    assert seen["cut_headings"] == []


def test_colours_follow_the_system(seen: dict[str, Any]) -> None:
    dark = seen["window"] == DARK
    assert (seen["paper"] < 60) is dark
    assert (seen["ink"] > 200) is dark
    assert (seen["figure_ink"] > 200) is dark


def test_examples_that_changed_or_failed_come_first_and_the_page_says_what_it_leaves_out(
    seen: dict[str, Any],
) -> None:
    assert seen["rows"] == 300
    assert "300 of 320 examples" in seen["says"]
    assert seen["first_changes"] == ["lost"] * 2 + ["gained"] * 3 + ["unscored"]
    assert seen["seventh_failed"]


def test_filters_and_the_search_leave_what_fits(seen: dict[str, Any]) -> None:
    assert seen["filters"] == {"gained": 3, "lost": 2, "failed": 3, "unscored": 1, "same": 294}
    assert seen["filtered_kinds"] == ["lost"]
    assert seen["searched"] == [7]
    assert seen["searched_says"] == "1 of 300"
    assert seen["searched_in_full"] == [0], "also in what the table cuts"
    assert seen["trials_searched"] == ["3"]


def test_columns_sort_both_ways_with_what_has_no_value_last(seen: dict[str, Any]) -> None:
    rows = seen["sorted_rows"]
    assert rows["ascending"] == sorted(rows["ascending"])
    assert rows["descending"] == sorted(rows["ascending"], reverse=True)
    assert seen["sorted_scores"][:2] == ["90.0%", "50.0%"]
    assert seen["sorted_scores"][-1] == "n/a"
    assert seen["aria_sort"] == ["descending"]


def test_one_click_opens_the_trace_with_what_was_said_as_text(seen: dict[str, Any]) -> None:
    trace = seen["trace"]
    assert seen["open"]
    for shown in (
        "Example 0", "lost", "locate", "solve", "openai/large", "<b>Four!</b>", "unparsable",
        "the answer is no number", "10 + 2 tokens", "Inputs", "Labels", "as given",
    ):  # fmt: skip
        assert shown in trace, shown
    assert not seen["injected"]
    assert seen["after_next"] == "Example 1 lost"
    assert not seen["open_in_the_end"]


def test_long_texts_are_cut_until_all_is_asked_for(seen: dict[str, Any]) -> None:
    short, whole = seen["heights"]
    assert 0 < short < whole


def test_everything_that_acts_is_reached_by_keyboard(seen: dict[str, Any]) -> None:
    assert seen["unreachable"] == []
    assert seen["unnamed"] == []


def test_a_result_without_examples_has_a_page_too(result: Result, tmp_path: Path) -> None:
    result.report(tmp_path / "report.html")
    assert 'id="trace"' not in (tmp_path / "report.html").read_text(encoding="utf-8")
