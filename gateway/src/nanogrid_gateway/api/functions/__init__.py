"""The functions API: upload, list and delete functions."""
