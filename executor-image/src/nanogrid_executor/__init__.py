"""What runs inside a sandbox pod: the input sync, the launcher and the agent."""
