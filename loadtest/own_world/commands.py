"""Runs documented commands as a user would, one process each, and keeps what they printed and how long they took."""

import json
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WMSERVE = str(Path(sys.executable).parent / "wmserve")


class StoryFault(RuntimeError):
    """A command of the story did not end as it should; the message says which, and where its output is."""


@dataclass(frozen=True)
class Ran:
    """A command that ended."""

    words: tuple[str, ...]
    status: int
    seconds: float
    output: str
    errors: str

    def figures(self) -> dict[str, Any]:
        """The last line, where that is JSON."""
        found: dict[str, Any] = json.loads(self.output.strip().splitlines()[-1])
        return found

    def report(self) -> dict[str, Any]:
        """All that it printed, where that is JSON."""
        found: dict[str, Any] = json.loads(self.output)
        return found


@dataclass
class Commands:
    """Commands run so far; their output goes to files in a folder of logs."""

    logs: Path
    ran: list[Ran] = field(default_factory=list)

    def wmserve(self, *words: object, statuses: tuple[int, ...] = (0,)) -> Ran:
        """Run `wmserve WORDS`."""
        return self.run(WMSERVE, *words, statuses=statuses)

    def python(self, module: str, *words: object) -> Ran:
        """Run `python -m MODULE WORDS`."""
        return self.run(sys.executable, "-m", module, *words)

    def run(self, *words: object, statuses: tuple[int, ...] = (0,)) -> Ran:
        """Run a command to its end; StoryFault for another exit status than one of these."""
        command = tuple(str(word) for word in words)
        shown = shlex.join([Path(command[0]).name, *command[1:]])
        print(f"$ {shown}", flush=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        ran = Ran(command, done.returncode, time.perf_counter() - started, done.stdout, done.stderr)
        self.ran.append(ran)
        log = self.logs / f"{len(self.ran):02}.log"
        log.write_text(f"$ {shown}\n{ran.output}\n{ran.errors}\n")
        if ran.status not in statuses:
            told = (ran.errors.strip() or ran.output.strip()).splitlines()[-3:]
            raise StoryFault(f"{shown}\nended with status {ran.status} ({log}):\n" + "\n".join(told))
        print(f"  {ran.seconds:.0f} s", flush=True)
        return ran
