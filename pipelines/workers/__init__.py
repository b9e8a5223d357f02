"""Calls that other processes make: Dask's, Ray's or Spark's workers, by joblib's backend."""

from pipelines.workers.joblib_backend import on_workers

__all__ = ["on_workers"]
