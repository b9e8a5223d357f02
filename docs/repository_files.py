"""A hook of MkDocs: what pages link to outside of docs/ is a part of the site, too.

On GitHub `../examples/cascade.py` leads from a page to the file. The site has a copy of each such
file under `repository/`, and its links point there; Markdown files among them become pages.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[1]
COPIED = (
    "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "examples/*", "benchmarks/worlds/README.md",
    "notebooks/*.ipynb",
)  # fmt: skip
_LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the copies."""
    for pattern in COPIED:
        for path in sorted(REPOSITORY.glob(pattern)):
            if path.is_file():
                uri = f"repository/{path.relative_to(REPOSITORY).as_posix()}"
                files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links from where files lie in the repository to where they lie in the site."""
    here = PurePosixPath(page.file.src_uri).parent
    folder = _in_repository(here)

    def moved(match: re.Match[str]) -> str:
        target = os.path.normpath(folder / match[1])
        return os.path.relpath(_in_site(target), here)

    return _LINK.sub(moved, markdown)


def _in_repository(folder: PurePosixPath) -> PurePosixPath:
    if folder.parts[:1] == ("repository",):
        return folder.relative_to("repository")
    return "docs" / folder


def _in_site(target: str) -> str:
    if target == "docs" or target.startswith("docs/"):
        return target.removeprefix("docs").lstrip("/") or "README.md"
    return f"repository/{target}"
