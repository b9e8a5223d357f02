"""Errors of a search that users see."""


class BudgetTooSmall(ValueError):
    """The budget can't pay for the baseline and the final pass over the holdout."""


class OptimizationError(RuntimeError):
    """The search could not start: no config could be scored."""


class ServiceError(RuntimeError):
    """The search service can't do what it was asked, or can't be reached."""


class OverBudget(ServiceError):
    """A search asks for more than its token has left."""


class UnknownSearch(ServiceError):
    """There is no such search, or it is another token's."""


class NotPossible(ServiceError):
    """The search is not in a state for that."""
