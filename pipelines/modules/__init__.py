"""A module of a pipeline: its signature, its function, and their checks."""
