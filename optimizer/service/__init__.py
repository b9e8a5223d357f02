"""The search service: searches over HTTP, their queue, workers and client."""
