"""The pure part of `make bench`: what is measured, goals, tables, charts and manifests."""
