"""The HTTP server of the gateway: process, connections, application."""
