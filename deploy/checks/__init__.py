"""Proofs of the chart that need no cluster: ``make deploy-check``, and the tests in ``tests/deploy``.

    values file -> Helm -> manifests -> schemas of Kubernetes, of KEDA and of Prometheus Operator
                                     -> kubectl -> policies, each of which is seen to fail when it is broken

What only a cluster can show is not shown: that images start, that nodes have room, that a network plugin enforces its
policies, that autoscalers find their metrics.
"""
