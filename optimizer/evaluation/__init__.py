"""A pipeline after the search: its score on new rows, drift, and which rows to label."""
