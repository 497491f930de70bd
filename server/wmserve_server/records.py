"""The binary form of arrays that gateways share: a header that says what follows, and then that. Never a pickle.

    magic and version, 4 bytes | header's length, uint32 | header, JSON | arrays, float32, little-endian, in its order

Whoever reads holds every length against what is there: a store is shared with other versions of this server.
"""

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from wmserve.world import World

from wmserve_server.backend import Floats

MAGIC = b"wmr1"
HEAD = struct.Struct("<4sI")
FLOAT = np.dtype("<f4")


class Unreadable(Exception):
    """These bytes are no record of this kind, in this version of the format."""


class MadeByAnother(Exception):
    """A handle is of another encoder of the same world: of the version, as it was when the handle was made."""

    def __init__(self, version: str, encoder: str, field: str) -> None:
        super().__init__(field)
        self.version, self.encoder, self.field = version, encoder, field


def origin(world: World) -> dict[str, str]:
    """A world, its version, the encoder whose latents these are, and the calibration that scored them."""
    return {
        "world": world.name,
        "version": str(world.version),
        "made_by": encoder(world),
        "scored_by": "" if world.calibration is None else world.calibration.digest,
    }


def encoder(world: World) -> str:
    """Digest of a version's encoder: of two versions that have the same, each takes the other's latents."""
    return digest(world.digests.checkpoint, tuple(world.digests.engines.items()))


@lru_cache(maxsize=64)
def digest(checkpoint: str, engines: tuple[tuple[str, str], ...]) -> str:
    """One of the files of an encoder; of the checkpoint where none is known."""
    files = sorted(pair for pair in engines if pair[0].startswith("encode/")) or checkpoint
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def made_by(facts: Mapping[str, str], world: World, field: str) -> bool:
    """Whether a record is of this world, in this or another version; MadeByAnother where of another encoder of it."""
    if facts.get("world") != world.name:
        return False
    if facts.get("made_by") != encoder(world):
        raise MadeByAnother(facts.get("version", "?"), facts.get("made_by", ""), field)
    return True


def pack(kind: str, facts: Mapping[str, str], arrays: Mapping[str, Floats | None]) -> bytes:
    """Facts and arrays, those that are None left out, as a record."""
    given = {name: array for name, array in arrays.items() if array is not None}
    shapes = tuple((name, array.shape) for name, array in given.items())
    data = (np.ascontiguousarray(array, FLOAT).data for array in given.values())
    return b"".join([head(kind, tuple(facts.items()), shapes), *data])


@lru_cache(maxsize=256)
def head(kind: str, facts: tuple[tuple[str, str], ...], shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> bytes:
    """What stands before the arrays; most records of a world have the same."""
    header = json.dumps({"kind": kind, "facts": dict(facts), "arrays": dict(shapes)}).encode()
    return HEAD.pack(MAGIC, len(header)) + header


def unpack(kind: str, record: bytes) -> tuple[dict[str, str], dict[str, Floats]]:
    """Facts and arrays, read-only, of a record; Unreadable where it is no such record."""
    try:
        magic, length = HEAD.unpack_from(record)
        header = json.loads(record[HEAD.size : HEAD.size + length]) if magic == MAGIC else {}
        if header.get("kind") != kind:
            raise Unreadable(f"no record of {kind}")
        arrays, offset = {}, HEAD.size + length
        for name, shape in header["arrays"].items():
            count = math.prod(shape)
            arrays[name] = np.frombuffer(record, FLOAT, count, offset).reshape(shape)
            offset += count * FLOAT.itemsize
        facts = {str(name): str(value) for name, value in header["facts"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise Unreadable(f"no record of {kind}: {error}") from None
    if offset != len(record):
        raise Unreadable(f"{len(record) - offset} bytes too many")
    return facts, arrays
