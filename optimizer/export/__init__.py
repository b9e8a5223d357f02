"""The tuned pipeline for other programs: as an MLflow model, and over many rows at once."""

from optimizer.export.batch import failure_of, is_wide, run_rows
from optimizer.export.pickled_model import save_pickled
from optimizer.export.pyfunc_model import save_pyfunc

__all__ = ["failure_of", "is_wide", "run_rows", "save_pickled", "save_pyfunc"]
