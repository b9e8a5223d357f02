"""The YAML of pipelines."""
