"""The parts of `bench.controlplane`: a control plane of processes, its load, and its tables."""
