"""NVIDIA GPUs of this machine, as their driver's management library (NVML) knows them.

Only the standard library: the engine runner reads it too, where wmserve is not importable.
"""

import ctypes

LIBRARY = "libnvidia-ml.so.1"


def compute_capabilities() -> tuple[str, ...]:
    """Compute capability of each GPU, such as `8.9`; empty where there is no GPU, or no driver of one."""
    try:
        nvml = ctypes.CDLL(LIBRARY)
    except OSError:
        return ()
    if nvml.nvmlInit_v2() != 0:
        return ()
    try:
        count = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return ()
        return tuple(filter(None, (capability(nvml, index) for index in range(count.value))))
    finally:
        nvml.nvmlShutdown()


def capability(nvml: ctypes.CDLL, index: int) -> str | None:
    """Of one GPU; None where the driver does not say."""
    device, major, minor = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
    if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) != 0:
        return None
    if nvml.nvmlDeviceGetCudaComputeCapability(device, ctypes.byref(major), ctypes.byref(minor)) != 0:
        return None
    return f"{major.value}.{minor.value}"
