"""The runs API: start a run, wait for its result, read logs and outputs."""
