"""Jobs in the client: submit, follow, read results."""
