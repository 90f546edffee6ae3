"""The test cluster: a real kind cluster on any machine, one module per step.

Three ways lead to one, tried in this order: the cluster of ``KUBECONFIG``, kind
with the published node image where a Docker engine can pull, and everything
built from language and Debian package registries where it cannot. The page
``docs/cluster.md`` explains them; ``python3 -m cluster --help`` lists the commands.
"""
