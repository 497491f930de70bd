"""CSV files whose first line names the columns: read row by row, from any row on."""

import csv
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from wmserve_export.trajectories.bounds import MAX_KEYS, DataError, at_most

PART = re.compile(r"(.+?)(?:[._](?:\d+|[xyzw]|roll|pitch|yaw)|\[\d+\])")
MAX_LINE = 1 << 20


def records(content: BinaryIO, where: str, first: int = 0) -> Iterator[tuple[int, list[str], list[str]]]:
    """Rows of a CSV, from byte `first` on if that is not 0: where each begins, the header, its values."""

    def lines() -> Iterator[str]:
        while line := content.readline(MAX_LINE + 1):
            at_most(where, "bytes of a line", len(line), MAX_LINE)
            yield line.decode("utf-8-sig")

    content.seek(0)
    try:
        header = next(csv.reader(lines(), strict=True), [])
        at_most(where, "columns", len(header), MAX_KEYS)
        if len(set(header)) != len(header):
            raise DataError(f"{where}: names of columns must differ: {', '.join(header)}")
        if first:
            content.seek(first)
        reader, start = csv.reader(lines(), strict=True), content.tell()
        for row in reader:
            if row and len(row) != len(header):
                raise DataError(f"{where}: a row must have {len(header)} values, as the first line has, not {len(row)}")
            if row:
                yield start, header, row
            start = content.tell()
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{where} cannot be read as CSV: {error}") from None


def is_number(text: str) -> bool:
    """Whether it can be read as one."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def parsed(values: Sequence[str], names: Sequence[str], where: str) -> list[float]:
    """Numbers of a row; an empty value is none (NaN)."""
    found = []
    for name, value in zip(names, values, strict=True):
        if value and not is_number(value):
            raise DataError(f"{where}: {name} must be a number, not {value[:50]!r}")
        found.append(float(value or "nan"))
    return found


def grouped(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Columns by name, and those that are named alike by what they share."""
    found = {name: (name,) for name in names}
    shared: dict[str, tuple[str, ...]] = {}
    for name in names:
        if (match := PART.fullmatch(name)) and match[1] not in found:
            shared[match[1]] = (*shared.get(match[1], ()), name)
    return {**{key: group for key, group in shared.items() if len(group) > 1}, **found}
