"""Every other provider, by litellm."""
