"""NanoGrid's API, shared by operator, executor, clients and tests.

``names`` holds every name once, ``reasons`` every failure reason with its cure, ``wire`` the JSON
that travels between operator, pod, S3 and Redis (standard library only: each job pays for its
imports), ``job`` the ExecutionJob models, ``crd`` the CustomResourceDefinition made from them.
"""
