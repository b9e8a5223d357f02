"""What is known of a DSPy program before it runs: predictors, models, arguments, identity."""
