"""How good is it? Datasets, metrics, running programs over examples, racing, statistics."""
