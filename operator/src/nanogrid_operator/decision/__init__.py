"""What to do next for a job: pure functions of a snapshot."""
