"""A laboratory: operators as local processes, with a fault proxy in front of each server.

Pods run in the real cluster. Operator, Redis and S3 server run on this machine. So a test can kill
an operator between two of its API calls, or cut exactly one connection.
"""
