"""The tuned pipeline for other programs: as an MLflow model, and over many rows at once."""

from optimizer.export.batch import failure_of, input_types, is_wide, run_rows
from optimizer.export.pickled_model import save_pickled
from optimizer.export.plain_data import plain_record, typed_record
from optimizer.export.pyfunc_model import save_pyfunc

__all__ = [
    "failure_of",
    "input_types",
    "is_wide",
    "plain_record",
    "run_rows",
    "save_pickled",
    "save_pyfunc",
    "typed_record",
]
