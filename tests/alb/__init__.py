"""A simulated Application Load Balancer, for tests of what stands behind one."""
