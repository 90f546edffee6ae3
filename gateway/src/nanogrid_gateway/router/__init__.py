"""The session router: a stateless reverse proxy from one address to the pods of all sessions.

It learns sessions from the API server (``reflector`` → ``table``), decides from job and pod where
a session is (``route``), who may enter (``access``), and streams the rest (``forward``).
"""
