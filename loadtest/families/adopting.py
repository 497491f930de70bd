"""What this project makes of a checkpoint as its authors publish it."""

import tempfile
from pathlib import Path

from wmserve_export import families
from wmserve_export.families import Encoder, published
from wmserve_export.families.published import Facts


def adopted(family: str, source: Path, facts: Facts) -> Encoder:
    """The world that `wmserve export --family` would export."""
    with tempfile.TemporaryDirectory() as folder:
        families.named(families.PUBLISHED[family])(family, published.read(source), facts, Path(folder))
        return families.load(Path(folder))
