"""The planning half of the benchmarks: the server's plans against the field's own solver, in its own process."""
