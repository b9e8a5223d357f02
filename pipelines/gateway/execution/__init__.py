"""Calls and races, from the reservation to the settlement."""
