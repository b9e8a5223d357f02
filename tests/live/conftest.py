"""Skipped, with a reason, where no live models are named."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from tests.live.served import EXAMPLE, NAMED, VARIABLE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip this folder's tests without models."""
    if not NAMED:
        skip = pytest.mark.skip(reason=f"no live models; {VARIABLE} names them, as {EXAMPLE}")
        for item in items:
            if "tests/live/" in item.nodeid:
                item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def _servers_answer() -> None:
    """A server that is not there would only show as an outage, minutes later."""
    for name, url in NAMED.items():
        try:
            urllib.request.urlopen(f"{url}/models", timeout=10).close()
        except urllib.error.HTTPError:
            pass  # it answers
        except OSError as error:
            pytest.fail(f"{VARIABLE} names {name} at {url}, but nothing answers there: {error}")
