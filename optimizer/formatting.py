"""Formats figures and commands for people."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluators.statistics import Interval
from pipelines.gateway.budget import Budget

if TYPE_CHECKING:
    from evaluators.metrics.human_labels import JudgeAgreement


def percent(score: float) -> str:
    """A score in [0, 1] as `41.7%`."""
    return "n/a" if math.isnan(score) else f"{100 * score:.1f}%"


def percent_interval(score: Interval) -> str:
    """A score's 95% interval as `[30.1, 54.3]`, in percent."""
    return f"[{100 * score.low:.1f}, {100 * score.high:.1f}]"


def points(gain: Interval) -> str:
    """A gain with its 95% interval as `+12.0 points [+5.1, +18.4]`."""
    # z: no minus sign before what is rounded to 0.0
    mean, low, high = (f"{100 * value:+z.1f}" for value in (gain.mean, gain.low, gain.high))
    return f"{mean} points [{low}, {high}]"


def dollars(usd: float) -> str:
    """Dollars with cents, or with three significant digits when they are few: `$0.00123`."""
    if math.isnan(usd):
        return "n/a"
    if usd == 0 or usd >= 1:
        return f"${usd:,.2f}"
    return f"${usd:.{min(12, 2 - math.floor(math.log10(usd)))}f}"


def seconds(duration: float) -> str:
    """A duration as `0.42 s`, `12 s`, `3:05` (minutes) or `1:02:09` (hours)."""
    if math.isnan(duration):
        return "n/a"
    if duration < 10:
        return f"{duration:.2f} s"
    if (whole := round(duration)) < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def number(value: float) -> str:
    """Four significant digits, and all before the point: `0.6667`, `12,346`."""
    if math.isfinite(value) and abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def setting(value: Any) -> str:
    """The value of a knob or of a function's parameter."""
    return number(value) if isinstance(value, float) else str(value)


def agreement_text(judge: JudgeAgreement) -> str:
    """A judge's agreement with people, as `agreed with 92.5% of 40 human labels (kappa 0.85)`."""
    labels = counted(judge.labels, "human label")
    if judge.agreement is not None and judge.kappa is not None:
        return f"agreed with {percent(judge.agreement)} of {labels} (kappa {judge.kappa:z.2f})"
    return f"correlation of {judge.correlation or 0.0:z.2f} with {labels}"


def counted(number: int, noun: str) -> str:
    """`1 trial`, `1,200 trials`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def budget_text(budget: Budget) -> str:
    """The caps as `$5.00, 20,000 calls and 1:00:00`; `no cap` without any."""
    caps = [
        "" if budget.usd is None else dollars(budget.usd),
        "" if budget.calls is None else counted(budget.calls, "call"),
        "" if budget.seconds is None else seconds(budget.seconds),
    ]
    *others, last = [cap for cap in caps if cap] or ["no cap"]
    return f"{', '.join(others)} and {last}" if others else last


def budget_code(budget: Budget, *, shell: bool = False) -> str:
    """The argument: `budget=Budget(usd=0.5)`, or `--budget-usd 0.5` on the command line."""
    caps = {"usd": budget.usd, "calls": budget.calls, "seconds": budget.seconds}
    given = {name: f"{cap:.12g}" for name, cap in caps.items() if cap is not None}
    if shell:
        return " ".join(f"--budget-{name} {cap}" for name, cap in given.items())
    return f"budget=Budget({', '.join(f'{name}={cap}' for name, cap in given.items())})"


def command(name: str) -> str:
    """The name of an installed command; its path where the environment isn't activated."""
    if shutil.which(name):
        return name
    beside = Path(sys.executable).with_name(name)
    return shlex.quote(os.path.relpath(beside)) if beside.exists() else name


def ui_command(uri: str) -> str:
    """How to open MLflow's UI on this store.

    Without the variable, MLflow's server imports litellm, which fetches a price map, and hangs on
    a machine without a network.
    """
    if uri.startswith(("http://", "https://")):
        return f"open {without_credentials(uri)}"
    offline = "LITELLM_LOCAL_MODEL_COST_MAP=True " if os.name == "posix" else ""
    address = shlex.quote(without_credentials(uri))
    return f"{offline}{command('mlflow')} ui --backend-store-uri {address}"


def without_credentials(uri: str) -> str:
    """The address without user name and password."""
    return re.sub(r"(?<=://)[^/@]*@", "", uri)
