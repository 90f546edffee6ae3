"""The test cluster: a real kind cluster on any machine, one module per step.

There are three ways, tried in this order: the cluster in ``KUBECONFIG``; kind with the published
node image, if a Docker engine can pull; everything built from language and Debian package
registries, if it cannot. ``docs/cluster.md`` explains them; ``python3 -m cluster --help`` lists the
commands.
"""
