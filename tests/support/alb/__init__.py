"""A simulated Application Load Balancer, for tests of its targets."""
