"""A spec and a config made into something that runs, and the trace of its runs."""
