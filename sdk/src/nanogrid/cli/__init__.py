"""The command line ``nanogrid`` (also ``kubectl ej``). See docs/cli.md.

Modules with a command import the client late, so that ``nanogrid --help`` stays fast.
"""
