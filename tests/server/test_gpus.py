"""What is known of a machine's GPUs, and which engines are refused for it; the driver is a stand-in."""

import ctypes
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import wmserve_server
from wmserve import gpus

RUNNER = Path(wmserve_server.__file__).parent / "triton_backends" / "wmserve_onnx" / "gpu_engines.py"


class Driver:
    """NVML with two GPUs; functions return 0 when all is well."""

    def __init__(self, *capabilities: tuple[int, int], broken: str = "") -> None:
        self.capabilities, self.broken, self.shut = capabilities, broken, False

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"NVML has no {name}")

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 1 if self.broken == "init" else 0

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.shut = True

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self.capabilities)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, device: Any) -> int:  # noqa: N802
        device._obj.value = index + 1
        return 1 if self.broken == f"device {index}" else 0

    def nvmlDeviceGetCudaComputeCapability(self, device: Any, major: Any, minor: Any) -> int:  # noqa: N802
        major._obj.value, minor._obj.value = self.capabilities[device.value - 1]
        return 0


def install(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: driver)


def test_each_gpu_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten and over has two digits before the point; the library is let go again."""
    driver = Driver((8, 9), (12, 0))
    install(monkeypatch, driver)
    assert gpus.compute_capabilities() == ("8.9", "12.0")
    assert driver.shut


def test_what_the_driver_does_not_say_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that has fallen off its bus, a driver that does not start, and none at all."""
    install(monkeypatch, Driver((8, 9), (12, 0), broken="device 0"))
    assert gpus.compute_capabilities() == ("12.0",)
    install(monkeypatch, Driver((8, 9), broken="init"))
    assert gpus.compute_capabilities() == ()
    monkeypatch.undo()
    monkeypatch.setattr(gpus, "LIBRARY", "libno-such-driver.so.1")
    assert gpus.compute_capabilities() == ()


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The engine runner's module, as Triton's Python backend imports it."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", ModuleType("triton_python_backend_utils"))
    monkeypatch.setitem(sys.modules, "gpus", gpus)
    spec = importlib.util.spec_from_file_location("gpu_engines", RUNNER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_engines", module)
    spec.loader.exec_module(module)
    return module


def target(*capabilities: str, name: str = "tensorrt") -> dict[str, Any]:
    return {"name": name, "builder": f"{name} 1.7", "compute_capabilities": capabilities}


def test_engines_for_other_gpus_are_refused_by_name(runner: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are named; every GPU of the machine has to fit, since Triton runs an instance on each."""
    monkeypatch.setattr(runner, "compute_capabilities", lambda: ("8.6", "8.9"))
    runner.check_machine(target())
    runner.check_machine(target("8.6", "8.9", "12.0"))
    with pytest.raises(runner.Refused, match=r"capability 8\.9, this machine has 8\.6 and 8\.9$"):
        runner.check_machine(target("8.9"))
    monkeypatch.setattr(runner, "compute_capabilities", lambda: ())
    with pytest.raises(runner.Refused, match=r"capability 8\.6 or 12\.0, this machine has none$"):
        runner.check_machine(target("8.6", "12.0"))


def test_engines_of_another_version_are_refused_by_name(runner: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Major, minor and patch count; what is not found is for Triton to say."""

    class Library:
        def getInferLibVersion(self) -> int:  # noqa: N802
            return 101304

    loaded: list[str] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: loaded.append(name) or Library())
    runner.check_builder(built_by("tensorrt 10.13.4.7"))
    assert loaded == ["libnvinfer.so.10"]
    with pytest.raises(runner.Refused, match=r"needs tensorrt 10\.9\.0\.34, this machine has 10\.13\.4$"):
        runner.check_builder(built_by("tensorrt 10.9.0.34"))
    monkeypatch.undo()
    monkeypatch.setattr(runner.importlib.metadata, "version", lambda _: "1.7.1.116")
    runner.check_builder(built_by("tensorrt-rtx 1.7.1.116"))
    with pytest.raises(runner.Refused, match=r"needs tensorrt-rtx 1\.6\.0\.1, this machine has 1\.7\.1\.116$"):
        runner.check_builder(built_by("tensorrt-rtx 1.6.0.1"))


def test_without_a_tensorrt_it_is_not_asked(runner: ModuleType) -> None:
    """A library of a version that nobody has; and engines for a CPU, which nothing built."""
    runner.check_builder(built_by("tensorrt 99.1.0.0"))
    runner.check_builder(built_by(""))


def built_by(builder: str) -> dict[str, Any]:
    return {"name": builder.partition(" ")[0], "builder": builder, "compute_capabilities": ("8.9",)}


def test_what_is_not_run_yet_is_said(runner: ModuleType) -> None:
    """TensorRT-RTX engines are built and checked."""
    runner.check_runs(target("8.9"))
    with pytest.raises(runner.Refused, match=r"engines of tensorrt-rtx 1\.7 are built and checked, but not run yet"):
        runner.check_runs(target("8.9", name="tensorrt-rtx"))
