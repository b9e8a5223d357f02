"""Who stands behind the gateway: litellm, and the fakes that it serves like any other model."""
