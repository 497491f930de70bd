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


def origin(world: World) -> dict[str, str]:
    """A world, and what it is made of, checkpoint and engines: of two that differ neither reads the other's."""
    made_by = digest(world.digests.checkpoint, tuple(world.digests.engines.items()))
    return {"world": world.name, "made_by": made_by}


@lru_cache(maxsize=64)
def digest(checkpoint: str, engines: tuple[tuple[str, str], ...]) -> str:
    """One of all these."""
    return hashlib.sha256(json.dumps([checkpoint, *sorted(engines)]).encode()).hexdigest()


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
