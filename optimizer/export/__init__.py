"""The tuned pipeline for other programs: as an MLflow model, and over many rows at once."""

from optimizer.export.batch import failure_of, input_types, is_wide, run_rows
from optimizer.export.dspy_model import save_dspy_program
from optimizer.export.pyfunc_model import save_pyfunc

__all__ = [
    "failure_of",
    "input_types",
    "is_wide",
    "run_rows",
    "save_dspy_program",
    "save_pyfunc",
]
