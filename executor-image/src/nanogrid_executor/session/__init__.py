"""A session: many executions in one sandbox, and the HTTP API in front of them."""
