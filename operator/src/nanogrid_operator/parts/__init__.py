"""Builds the parts of the operator, from the leaves up. Nothing is started here."""
