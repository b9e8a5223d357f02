"""The version of this library."""

from importlib import metadata

DISTRIBUTION = "compound-optimizer"


def library_version() -> str:
    """The installed version; `unknown` when it runs from a folder that was never installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"
