"""The NanoGrid operator. A job passes through the folders in this order.

``watch`` puts each event into the cache and enqueues the job's uid. ``reconcile`` takes the uid
from the ``workqueue``, reads facts (``model``) and asks ``decision`` what to do: create a pod
(``manifests``), wait, or finish. ``delivery`` sends the result to Redis, S3 and webhooks, and
``status`` writes the status. ``server`` takes the results of agents. ``__main__`` builds all parts.
"""
