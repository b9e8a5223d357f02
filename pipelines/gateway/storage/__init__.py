"""Replies, reservations and spend on disk."""
