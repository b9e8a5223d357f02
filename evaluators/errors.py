"""Errors of datasets and metrics that users see."""


class DatasetError(ValueError):
    """Data that cannot be a dataset; the message says what is wrong and where."""


class MetricError(ValueError):
    """A metric that cannot be used, that raised, or that returned something other than a score."""
