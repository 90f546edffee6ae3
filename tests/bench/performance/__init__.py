"""`make bench`: measures on a cluster and writes docs/performance.md."""
