"""HTTP in front of NanoGrid; :mod:`nanogrid_gateway.router` leads clients to their sessions."""
