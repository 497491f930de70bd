"""Families' own packages, asked what a checkpoint's model answers: the reference of the gate of that name.

    lewm, pldm, dino-wm, tdmpc2    stable-worldmodel
    vjepa2, ijepa                  transformers

A peer is built from the user's own settings and tensors by the package's constructors, which get the settings as they
are. It shares no code with what reads them for wmserve, so that a setting that one of the two misreads is noticed.
Nothing in a checkpoint runs: classes that settings name are looked up among those of these packages (`building`).
"""

import contextlib
import importlib
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

from wmserve_export.families.facts import Facts
from wmserve_export.families.published import Published
from wmserve_export.pairs import Pairs

PEERS: Mapping[str, tuple[str, str]] = {
    "dino-wm": ("stable-worldmodel", "wmserve_export.peers.dino_wm"),
    "ijepa": ("transformers", "wmserve_export.peers.ijepa"),
    "lewm": ("stable-worldmodel", "wmserve_export.peers.lewm"),
    "pldm": ("stable-worldmodel", "wmserve_export.peers.lewm"),
    "tdmpc2": ("stable-worldmodel", "wmserve_export.peers.tdmpc2"),
    "vjepa2": ("transformers", "wmserve_export.peers.vjepa2"),
}
"""Package on PyPI, and the module here whose ``build(family, source, facts)`` makes a peer of it."""


class NoPeerError(Exception):
    """A family's own code cannot be asked; the message says why."""


class MisfitError(Exception):
    """A family's own model, built from a checkpoint's settings, does not take its tensors; the message says which."""


class Peer(Protocol):
    """A family's own model with a checkpoint's weights."""

    @property
    def side(self) -> int:
        """Side of the frames that it takes, pixels; 0 for none."""

    def answers(self, given: Pairs) -> Pairs:
        """What is given, frames of its side, with what it answers."""


def package_of(family: str) -> str:
    """A family's own package with its version; NoPeerError where it is not installed."""
    if family not in PEERS:
        raise NoPeerError(f"no package of the authors of {family} is published")
    package, _ = PEERS[family]
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        raise NoPeerError(f"{package} is not installed") from None


def peer_of(family: str, source: Published, facts: Facts) -> Peer:
    """A family's own model with a checkpoint's weights.

    NoPeerError where there is none that can be asked, MisfitError where settings and tensors do not fit each other.
    """
    package_of(family)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of environments that nobody plays here
            module = importlib.import_module(PEERS[family][1])
    except (ImportError, RuntimeError) as error:
        raise NoPeerError(f"{PEERS[family][0]} cannot be imported: {error}") from None
    with failures_told(PEERS[family][0]):
        peer: Peer = module.build(family, source, facts)
        return peer


@contextlib.contextmanager
def failures_told(package: str) -> Iterator[None]:
    """NoPeerError for whatever a package makes of settings that it does not understand."""
    try:
        yield
    except (NoPeerError, MisfitError):
        raise
    except Exception as error:
        raise NoPeerError(f"{package} fails on this checkpoint: {type(error).__name__}: {error}") from None
