"""A laboratory: operators as local processes, with a proxy before each server that can fail.

Pods run in the real cluster. Operator, Redis and S3 server run on this machine, so that a test can
kill an operator between two of its API calls, or cut the one connection that it is about.
"""
