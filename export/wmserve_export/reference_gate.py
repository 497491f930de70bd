"""The gate ``reference``: a world is held against its family's own code, or against examples that this made.

The other gates compare engines with wmserve's own modules, and so say nothing of a setting that these were given wrong:
a number of heads, an activation, how pixels were prepared. Here encodings and predictions are compared with those of
the family's own package, built from the user's settings (:mod:`wmserve_export.peers`), and with examples that the user
gives (:mod:`wmserve_export.pairs`): with both where both are there. Without either the world says that nobody checked.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wmserve_export import peers
from wmserve_export.families import Encoder
from wmserve_export.families.facts import Facts
from wmserve_export.families.published import Published
from wmserve_export.gates import PARITY_LIMIT, GateError, relative_error
from wmserve_export.pairs import Pairs, answered, drawn, read_pairs

LIMIT = PARITY_LIMIT
"""Largest difference from the reference's outputs, relative to their largest value; both are float32."""
EXAMPLES, STEPS = 3, 4
"""What a package is asked: so many examples of so many model steps, in which a window of three grows, and slides."""
DEFINED_HERE = ("conv_jepa",)
"""Families whose own code is wmserve's."""
SUSPECTS = (
    "compare config.json and the file of --world with the training: heads, activations, norms, window, pixels, "
    "image_size, statistics of actions"
)

MADE = "examples are to be made in float32 without TF32, of frames of the size that training resizes to"


@dataclass(frozen=True)
class Reference:
    """What a world was held against, and how far it was off."""

    against: tuple[str, ...]
    """Such as ``stable-worldmodel 0.1.1`` and ``pairs.npz: 16 examples``."""
    unchecked: str = ""
    """Why it was held against nothing; empty where it was."""
    errors: Mapping[str, float] = field(default_factory=dict)
    """Largest relative error by what it was held against and output."""

    @property
    def checked(self) -> bool:
        """Whether it was held against anything."""
        return bool(self.against)

    @property
    def said(self) -> str:
        """Against what; where against nothing, why."""
        return ", ".join(self.against) if self.checked else self.unchecked


@dataclass(frozen=True)
class Origin:
    """Where a world comes from, as far as its reference may be made of it."""

    family: str | None = None
    """As whose checkpoint it was read; None for a checkpoint of this project or an adapter's."""
    source: Published | None = None
    facts: Facts | None = None
    pairs: Path | None = None
    """Examples that the user gives."""
    adapter: str | None = None


def reference(family: Encoder, origin: Origin) -> Reference:
    """Hold a world against all that there is; GateError where it answers otherwise, FamilyError for no examples."""
    against: list[str] = []
    errors: dict[str, float] = {}
    unchecked = ""
    try:
        package, given = of_package(family, origin)
        against.append(package)
        if given is not None:
            errors |= compared(family, given, package, SUSPECTS)
    except peers.NoPeerError as error:
        unchecked = str(error)
    if origin.pairs is not None:
        given = read_pairs(origin.pairs, family)
        name = f"{origin.pairs.name}: {len(given.latents)} examples"
        errors |= compared(family, given, name, f"{SUSPECTS}; {MADE}")
        against.append(name)
    return Reference(tuple(against), "" if against else unchecked, errors)


def of_package(family: Encoder, origin: Origin) -> tuple[str, Pairs | None]:
    """Name of the family's own code, and what it answers; None where that code is what is exported.

    NoPeerError where there is none, GateError where the package does not take the checkpoint.
    """
    if origin.family is None or origin.source is None or origin.facts is None:
        if origin.adapter is None and family.config.family in DEFINED_HERE:
            return f"wmserve defines the family {family.config.family}", None
        raise peers.NoPeerError(
            "what an adapter returns has no other code to be held against"
            if origin.adapter
            else "a checkpoint of wmserve's own format does not tell how its family's package was configured"
        )
    package = peers.package_of(origin.family)
    try:
        peer = peers.peer_of(origin.family, origin.source, origin.facts)
    except peers.MisfitError as error:
        raise GateError(
            f"reference: the model that {package} builds by config.json does not take the tensors: {error}; "
            "give the settings that it was trained with"
        ) from None
    steps = STEPS if family.config.planner is None else min(STEPS, family.config.planner.horizon + 1)
    with peers.failures_told(package):
        return package, peer.answers(drawn(family, EXAMPLES, steps, peer.side))


def compared(family: Encoder, given: Pairs, name: str, advice: str) -> dict[str, float]:
    """Largest relative error of each output; GateError, with advice, from the first that is off by over `LIMIT`."""
    errors: dict[str, float] = {}
    for output, found in answered(family, given).items():
        wanted = getattr(given, output)
        if wanted is None:
            continue
        if found.shape != wanted.shape:
            raise GateError(f"reference: {output} are {list(found.shape)}, those of {name} {list(wanted.shape)}")
        error = errors[f"{name}: {output}"] = relative_error(found.numpy(), wanted.numpy())
        if not error <= LIMIT:
            figure = "not finite" if math.isnan(error) else f"off by {error:.2g}"
            raise GateError(f"reference: {output} are {figure} relative to {name}, allowed {LIMIT:.0e}: {advice}")
    return errors
