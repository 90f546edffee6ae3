"""The session router: a stateless reverse proxy from one address to the pods of all sessions.

It watches jobs and pods on the API server (``reflector`` → ``table``), decides where a session
is (``route``), authorizes callers (``access``), and streams requests and responses (``forward``).
"""
