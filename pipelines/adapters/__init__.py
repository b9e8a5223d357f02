"""Pipelines that were not written for this library: DSPy programs and plain Python."""
