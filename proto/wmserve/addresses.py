"""How versions of a world are addressed: ``two_room@2``. Of nothing but the standard library, for the plain client."""

import re

ADDRESS = re.compile(r"([a-z][a-z0-9_]{0,62})(?:@([1-9]\d{0,5}))?")


def address(name: str, version: int | str) -> str:
    """How a version of a world is addressed: ``two_room@2``."""
    return f"{name}@{version}"


def parse_address(text: str) -> tuple[str, int | None] | None:
    """Name and version of ``two_room@2``, or of ``two_room``, which names no version; None where it is neither."""
    found = ADDRESS.fullmatch(text)
    return None if found is None else (found[1], None if found[2] is None else int(found[2]))
