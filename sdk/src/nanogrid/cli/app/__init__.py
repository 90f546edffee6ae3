"""Shared by all commands: context, errors, exit codes, output, progress, tables."""
