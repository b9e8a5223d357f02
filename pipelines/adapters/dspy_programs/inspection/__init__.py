"""What a DSPy program says before it runs: predictors, models, arguments, identity."""
