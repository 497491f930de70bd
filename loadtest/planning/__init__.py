"""The planning half of the benchmarks: the server's plans against the field's own solver, in its own process."""

import loadtest.evaluation  # noqa: F401  # lets stable-worldmodel import torchvision
