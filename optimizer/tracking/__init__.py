"""Every trial in MLflow, written in the background, and kept on disk while the store is away."""

from optimizer.tracking.tracker import Tracker

__all__ = ["Tracker"]
