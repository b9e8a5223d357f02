"""`estimate PIPELINE DATASET`: what `optimize` with the same arguments would take."""

from __future__ import annotations

import argparse


def run(options: argparse.Namespace) -> int:
    """Print the estimate; nothing is called."""
    from optimizer import optimize
    from optimizer.cli.figures import print_json
    from optimizer.cli.search_arguments import search_arguments

    estimated = optimize(**search_arguments(options), dry_run=True)
    if options.json:
        print_json(estimated.to_dict(), options.stdout)
    else:
        print(estimated.text(shell=True), end="")
    return 0
