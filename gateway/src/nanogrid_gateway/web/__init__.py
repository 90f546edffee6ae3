"""The gateway's web page: runs, functions and the queue of one namespace, for a browser.

The server renders it with the permissions, limits and clients of the API; reading needs no
JavaScript.
"""
