"""The status of jobs, sessions and functions, and Events."""
