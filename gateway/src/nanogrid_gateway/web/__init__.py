"""The gateway's web page: runs, functions and the queue of one namespace, for a browser.

Rendered here, with the rights, limits and clients of the API; reading needs no JavaScript.
"""

from nanogrid_gateway.web.pages import add_routes

__all__ = ["add_routes"]
