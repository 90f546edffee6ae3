"""The NanoGrid operator; the way of one job reads by file name.

``handlers`` note an event in the ``store`` and enqueue the job's uid; ``reconcile`` takes it from
the ``workqueue``, reads ``facts`` from the pod and asks ``decide`` what to do: build the ``pod``,
wait, or finish with an ``outcome``, which ``publish`` gives to Redis before ``kube`` writes the
status. ``results_api`` is where a pod's agent pushes its result. ``__main__`` wires it together.
"""
