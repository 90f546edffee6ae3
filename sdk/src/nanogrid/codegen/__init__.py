"""Generates the CustomResourceDefinitions and the reference documentation."""
