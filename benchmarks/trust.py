"""Whether a search deserves trust: all benchmarks that have goals for it, and one table.

    python -m benchmarks trust [--quick] [--jobs 2] [--only do_no_harm,anytime]

Finished runs are kept, so that a second start goes on where the first one ended. `--quick` is a
small part of each, to see that it works: its figures are too noisy to be quoted. `search_tables`
also plots regret against calls.
"""

from __future__ import annotations

import argparse

from benchmarks.resuming import Goal, goals_of, tell_goals
from benchmarks.search_tables import words

QUICK = {
    "search_tables": "--seeds 3 --starts 3 --calls 1200,2000 --strategies default,halving",
    "do_no_harm": "--seeds 2 --fresh 100",
    "nothing_to_find": "--seeds 5",
    "held_out_coverage": "--seeds 8",
    "anytime": "--seeds 3 --live-seeds 1 --tables mathqa,pair",
    "diagnosers": "--seeds 3 --live-seeds 1",
    "through_http": "--seeds 1",
}
"""Each benchmark, in order, and the options that make it a small one."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", type=words, default=list(QUICK), help="some of them, by name")
    options = parser.parse_args()
    if unknown := [name for name in options.only if name not in QUICK]:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(QUICK)}")
    found: list[Goal] = []
    for name in options.only:
        print(f"\n== {name}", flush=True)
        arguments = QUICK[name].split() if options.quick else []
        found += goals_of(name, [*arguments, "--jobs", str(options.jobs)])
    tell_goals(found)
