"""Runs one command; an error is one message and an exit code.

Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from importlib import import_module

from optimizer.cli.arguments import FAILED, SIGNALLED, WRONG_INPUT, parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code, as `--help` explains it.
    """
    options = parser().parse_args(arguments)
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # last, so that a folder of the user's can't hide our packages
    options.stdout = sys.stdout
    figures_only = redirect_stdout(sys.stderr) if options.json else nullcontext()
    try:
        with figures_only:  # what the user's code prints is not among them
            module, _, function = options.function.partition(":")
            return int(getattr(import_module(f"optimizer.cli.{module}"), function)(options))
    except SystemExit as ended:  # as if the command were done
        code = "a function of the pipeline, or what it imports"
        print(f"compound-optimizer {options.command}: {code}, called sys.exit({ended.code!r})",
              file=sys.stderr)  # fmt: skip
        return FAILED
    except KeyboardInterrupt as interrupt:
        return SIGNALLED + int(getattr(interrupt, "number", signal.SIGINT))
    except BrokenPipeError:  # the reader of the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (ValueError, OSError, RuntimeError) as error:
        if options.debug:
            raise
        message = str(error)
        if isinstance(error, OSError) and error.filename and error.strerror:
            message = f"{error.filename}: {error.strerror}"
        print(f"compound-optimizer {options.command}: {message}", file=sys.stderr)
        return FAILED if isinstance(error, RuntimeError) else WRONG_INPUT
