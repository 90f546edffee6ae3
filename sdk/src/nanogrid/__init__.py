"""NanoGrid's API, shared by operator, executor, gateway, clients and tests.

The modules in this folder use the standard library only, because each job imports some of them:
``names`` has every shared name, ``reasons`` every reason with its hint, ``wire`` the JSON that
operator, pod, S3 and Redis exchange. ``api`` has the models of the custom resources, ``codegen``
generates CRDs and documents from them. ``client`` is the Python client, ``cli`` the command line.
"""
