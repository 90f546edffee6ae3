"""Metrics of Amazon CloudWatch: its rules, and a client that sends to it."""
