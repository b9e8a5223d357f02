"""The gateway, through which every call to a language model goes."""
