"""Servers as processes: started on free ports, ended as a service manager ends them."""

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_TIMEOUT_S = 30.0
Process = subprocess.Popen[bytes]


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def start(command: Sequence[str], log: Path, settings: Mapping[str, object], folder: Path | None = None) -> Process:
    """Start a server with these settings (names in lower case, without their prefix); what it says goes to `log`."""
    variables = {f"WMSERVE_{name.upper()}": str(value) for name, value in settings.items()}
    with log.open("wb") as output:
        return subprocess.Popen(command, cwd=folder, env={**os.environ, **variables}, stdout=output, stderr=output)


def end(process: Process) -> bool:
    """End it; whether it ended by itself. One that does not within 30 seconds is killed."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True
