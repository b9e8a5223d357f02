"""A pipeline as a model API over HTTP."""
