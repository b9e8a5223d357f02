"""Language models: the gateway that all calls pass, and the providers that stand behind it."""
