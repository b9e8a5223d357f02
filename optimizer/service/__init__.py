"""A search service over HTTP: a queue of searches, the workers that run them, and a client."""
