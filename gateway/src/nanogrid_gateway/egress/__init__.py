"""The egress proxy: tunnels of sandboxes to the names in the allow-list of their job."""
