"""Kopf handlers and the cache of watched objects."""
