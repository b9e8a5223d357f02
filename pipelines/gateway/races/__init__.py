"""Several calls at once, of which the first to finish count."""
