"""Services over HTTP: a pipeline as a model API; and searches: their queue, workers and client."""
