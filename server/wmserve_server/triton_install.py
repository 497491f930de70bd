"""Finds the Triton of the nvidia-pytriton wheel, and lays out what its Python backend needs.

    triton_home/                            folder/ (one server's own, temporary)
     |- nvidia_pytriton.libs/                |- backends/python/        backend, stub of this Python
     `- pytriton/tritonserver/               |- backends/wmserve_onnx/  our engine runner, planner, gpus
         |- bin/tritonserver                 `- lib/                    libpython, if it needs to be found
         |- backends/python/
         `- python_backend_stubs/3.x/

Triton refuses backends that are symbolic links out of their folder, so they are copied: 3 MB.
"""

import ctypes.util
import importlib.util
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from wmserve import gpus

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
RUNNERS = Path(__file__).parent / "triton_backends"
PLANNER = Path(__file__).parent / "planner"
INSTALL = "python -m pip install --no-deps --target .triton nvidia-pytriton==0.7.0"


class InstallError(RuntimeError):
    """This machine lacks something that Triton needs; the message says what to do."""


@dataclass(frozen=True)
class TritonInstall:
    """An unpacked wheel."""

    home: Path

    @property
    def server(self) -> Path:
        """Folder of the server inside the wheel."""
        return self.home / "pytriton" / "tritonserver"

    @property
    def binary(self) -> Path:
        """The server."""
        return self.server / "bin" / "tritonserver"

    @property
    def libraries(self) -> Path:
        """Shared libraries that the server and its backends are linked with."""
        return self.home / "nvidia_pytriton.libs"

    @property
    def stub(self) -> Path:
        """The process that runs a Python model, for the running Python."""
        return self.server / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"


def find(triton_home: Path | None) -> TritonInstall:
    """The wheel in `triton_home`; else in ``.triton`` of the working folder, else in this Python's packages."""
    homes = [triton_home] if triton_home is not None else [Path(".triton"), *importable_homes()]
    for home in homes:
        install = TritonInstall(home.resolve())
        if install.binary.is_file():
            if not install.stub.is_file():
                raise InstallError(f"Triton of nvidia-pytriton has no stub for Python {PYTHON}; use 3.11, 3.12 or 3.13")
            return install
    place = "in WMSERVE_TRITON_HOME" if triton_home is not None else "here"
    raise InstallError(f"there is no Triton {place}; run: {INSTALL}")


def importable_homes() -> list[Path]:
    """Where nvidia-pytriton is installed as a package, if it is; it is not imported."""
    spec = importlib.util.find_spec("pytriton")
    return [Path(place).parent for place in (spec.submodule_search_locations or ())] if spec else []


def lay_out(install: TritonInstall, folder: Path) -> None:
    """Put backends and libpython where :func:`environment` and ``--backend-directory`` point."""
    shutil.copytree(install.server / "backends" / "python", folder / "backends" / "python")
    shutil.copy2(install.stub, folder / "backends" / "python")
    sources = shutil.ignore_patterns("__pycache__")
    shutil.copytree(RUNNERS, folder / "backends", dirs_exist_ok=True, ignore=sources)
    shutil.copytree(PLANNER, folder / "backends" / "wmserve_onnx" / "planner", ignore=sources)
    shutil.copy2(gpus.__file__, folder / "backends" / "wmserve_onnx")
    (folder / "lib").mkdir()
    library = libpython()
    if library is not None:
        (folder / "lib" / library.name).symlink_to(library)


def libpython() -> Path | None:
    """The shared libpython that the stub needs; None when the loader or the wheel has one."""
    name = f"libpython{PYTHON}.so.1.0"
    for folder in (sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib"):
        if folder and (library := Path(folder) / name).is_file():
            return library
    if sys.version_info >= (3, 13) or ctypes.util.find_library(f"python{PYTHON}"):
        return None  # the stub for 3.13 is linked with a libpython inside the wheel
    raise InstallError(
        f"Triton's Python backend needs {name}, and this Python was built without it. Debian, Ubuntu: apt install "
        f"libpython{PYTHON}; pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install {PYTHON}; uv and conda have it"
    )


def environment(install: TritonInstall, folder: Path, threads: int) -> dict[str, str]:
    """Environment of the server.

    The stub ignores PYTHONPATH and finds its packages as the ``python3`` that is first on PATH does, so the
    running Python's is put there.
    """
    pinned = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "WMSERVE_TRITON_THREADS"), str(threads))
    libraries = [str(folder / "lib"), str(install.libraries), os.environ.get("LD_LIBRARY_PATH", "")]
    return {
        **os.environ,
        **pinned,
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        "LD_LIBRARY_PATH": ":".join(filter(None, libraries)),
        "CUDA_VISIBLE_DEVICES": "",  # this profile needs no GPU and must not take memory on one
    }
