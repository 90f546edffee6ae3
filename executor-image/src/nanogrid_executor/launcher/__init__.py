"""Runs in the user's container: standard library only, copied as a whole folder."""
