"""Runs one command; its errors are one message, and a code to go by.

Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from optimizer.cli.arguments import parser
from optimizer.cli.exit_codes import FAILED, INTERRUPTED, WRONG_INPUT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or what `exit_codes` says.
    """
    options = parser().parse_args(arguments)
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # last, so that a folder of the user's can't hide our packages
    try:
        return _run(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (ValueError, OSError, RuntimeError) as error:
        if options.debug:
            raise
        print(f"compound-optimizer {options.command}: {_told(error)}", file=sys.stderr)
        return FAILED if isinstance(error, RuntimeError) else WRONG_INPUT


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _run(options: argparse.Namespace) -> int:
    if options.command == "demo":
        from optimizer.cli.demo import demo

        return demo(options)
    if options.command == "optimize":
        from optimizer.cli.optimize import optimize_file

        return optimize_file(options)
    from optimizer.cli.run import run

    return run(options)
