"""Aggregators that have candidates judged, by a model or a function, and select among them."""
