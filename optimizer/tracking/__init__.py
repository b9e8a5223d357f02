"""Every trial in MLflow, written in the background, and kept on disk while the store is away."""

from optimizer.tracking.store import ui_command
from optimizer.tracking.tracker import Tracker

__all__ = ["Tracker", "ui_command"]
