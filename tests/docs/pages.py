"""What is on a page of the documentation: its blocks of code, its commands, its links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.launching import REPOSITORY

PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    REPOSITORY / "benchmarks" / "worlds" / "README.md",
]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`((?:make|python|compound-optimizer|mlflow|pip) [^`]+)`(?!`)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SETTING = re.compile(r"[A-Z_]+=\S*")


class Block(NamedTuple):
    """One fenced block."""

    language: str
    line: int
    """Where its first line stands in the page, from 1."""
    text: str


def name_of(page: Path) -> str:
    """The page as people call it: `docs/tracking.md`."""
    return page.relative_to(REPOSITORY).as_posix()


def blocks(page: Path, language: str) -> list[Block]:
    """The page's blocks in one language."""
    text = page.read_text(encoding="utf-8")
    found = (
        Block(match[1], text.count("\n", 0, match.start(2)) + 1, match[2])
        for match in _BLOCK.finditer(text)
    )
    return [block for block in found if block.language == language]


def commands(page: Path) -> Iterator[list[str]]:
    """Every command that the page shows, in blocks and in lines, as words without settings."""
    prose = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    lines = [line for block in blocks(page, "sh") for line in block.text.splitlines()]
    for line in [*lines, *(match.replace("\n", " ") for match in _INLINE.findall(prose))]:
        words = shlex.split(line, comments=True)
        while words and _SETTING.fullmatch(words[0]):
            words.pop(0)
        if words:
            yield words


def links(page: Path) -> list[str]:
    """Where the page points to, within this repository."""
    found = _LINK.findall(_BLOCK.sub("", page.read_text(encoding="utf-8")))
    return [link for link in found if not link.startswith(("http://", "https://"))]
