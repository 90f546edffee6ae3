"""Finds and stores the files that the user's code leaves in its output directory."""
