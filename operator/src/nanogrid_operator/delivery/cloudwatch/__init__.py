"""Metrics of ended jobs for Amazon CloudWatch, by function."""
