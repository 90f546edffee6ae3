"""The container next to the sandbox: starts the code, stores and reports the result."""
