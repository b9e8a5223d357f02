"""`compound-optimizer` on the command line."""

from optimizer.cli.command_line import main

__all__ = ["main"]
