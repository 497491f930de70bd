"""Why something was not measured."""


class Skipped(Exception):  # nothing failed
    """This cannot be measured here; the message says why."""
