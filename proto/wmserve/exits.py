"""How commands fail: in one line, and with a status."""

import sys


def failed(message: str, status: int) -> int:
    """Say in one line what is wrong, and return the exit status."""
    print(message, file=sys.stderr)
    return status
