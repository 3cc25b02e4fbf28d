"""The GPUs of this machine, read through NVML (the module pynvml).

NVML numbers the cards by PCI bus and ignores CUDA_VISIBLE_DEVICES; CUDA numbers the fastest first
unless CUDA_DEVICE_ORDER=PCI_BUS_ID. To choose a card for training, pass its `uuid` to CUDA, or set
that order and pass its index.

A reading that an old driver, a MIG slice or a missing permission denies is None; it never fails.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from backprop_tui.core.facts import Gpu, GpuFacts, GpuProcess

# Bits of NVML's clocks event reasons (nvml.h; throttle reasons in older drivers), the cause that
# can be helped first. A card that idles, or that keeps clocks somebody set, has other bits.
THROTTLE = (
    (0x20 | 0x40, "thermal"),  # SwThermalSlowdown, HwThermalSlowdown
    (0x04 | 0x80, "power"),  # SwPowerCap, HwPowerBrakeSlowdown
    (0x08, "hardware"),  # HwSlowdown: heat or power, and an older driver does not say which
)
STILL_WORKS = "What still works: training on the CPU, for tiny models only (such as pocket)."


def probe_gpu() -> GpuFacts:
    """Every card with its readings and the processes on it; `problem` when there is none.

    Our own process is listed like any other: only the caller knows whether it is in the way.
    """
    nvml, problem = _open()
    if nvml is None:
        return GpuFacts(problem=problem)
    try:
        driver = _text(_read(nvml, "nvmlSystemGetDriverVersion"))
        cuda = _cuda(nvml)
        count = _read(nvml, "nvmlDeviceGetCount")
        if not count:
            found = "finds no card" if count == 0 else "cannot count its cards"
            problem = f"The NVIDIA driver runs but {found}. {STILL_WORKS}"
            return GpuFacts(driver=driver, cuda=cuda, problem=problem)
        cards = tuple(_card(nvml, index) for index in range(count))
        return GpuFacts(cards=cards, driver=driver, cuda=cuda)
    finally:
        _close(nvml)


class GpuSampler:
    """One card read again and again, for live panels; NVML is opened once.

    `read` leaves out the processes and does not ask again for what cannot change. Without a
    driver or such a card it returns None.

        with GpuSampler(0) as sampler:
            card = sampler.read()
    """

    def __init__(self, index: int = 0) -> None:
        self.index = index
        self._nvml: ModuleType | None = None
        self._handle: Any = None
        self._fixed: Gpu | None = None

    def __enter__(self) -> Self:
        self._nvml, _ = _open()
        if self._nvml is not None:
            self._handle = _read(self._nvml, "nvmlDeviceGetHandleByIndex", self.index)
            if self._handle is not None:
                self._fixed = _identity(self._nvml, self._handle, self.index)
        return self

    def __exit__(self, *_: object) -> None:
        if self._nvml is not None:
            _close(self._nvml)
        self._nvml = self._handle = self._fixed = None

    def read(self) -> Gpu | None:
        """The card now, `processes` None; None without a driver, a card, or outside `with`."""
        if self._nvml is None or self._fixed is None:
            return None
        return _with_readings(self._nvml, self._handle, self._fixed)

    def others(self) -> int | None:
        """Bytes that other processes hold; None where the driver does not list this one, as in a
        container, or not the memory of each."""
        if self._nvml is None or self._fixed is None:
            return None
        listed = _processes(self._nvml, self._handle) or ()
        if not any(one.pid == os.getpid() and one.memory is not None for one in listed):
            return None
        held = [one.memory for one in listed if one.pid != os.getpid()]
        return None if None in held else sum(memory or 0 for memory in held)

    def throttle(self) -> str:
        """Why the card holds its clocks back: "thermal", "power" or "hardware"; "" when it does
        not, or the driver does not say."""
        if self._nvml is None or self._fixed is None:
            return ""
        names = (
            "nvmlDeviceGetCurrentClocksEventReasons",
            "nvmlDeviceGetCurrentClocksThrottleReasons",
        )
        reasons = _read(self._nvml, names, self._handle) or 0
        return next((cause for bits, cause in THROTTLE if reasons & bits), "")


def _open() -> tuple[ModuleType | None, str]:
    """pynvml, initialised; or None and the reason in words."""
    try:
        import pynvml
    except ImportError:
        return None, f"The Python package nvidia-ml-py is not installed. {STILL_WORKS}"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return None, f"{_reason(pynvml, error)} {STILL_WORKS}"
    return pynvml, ""


def _reason(nvml: ModuleType, error: Any) -> str:
    reasons = {
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND: "No NVIDIA driver is installed on this machine.",
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: "The NVIDIA driver is installed but not loaded"
        " (no card, or the kernel module is missing).",
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "The NVIDIA driver was updated while loaded:"
        " restart the machine.",
        nvml.NVML_ERROR_NO_PERMISSION: "The NVIDIA driver refuses this user: no permission.",
    }
    return reasons.get(error.value, f"The NVIDIA driver does not answer: {error}.")


def _close(nvml: ModuleType) -> None:
    # A driver that fails to shut down has given its readings all the same.
    with suppress(nvml.NVMLError):
        nvml.nvmlShutdown()


def _read(nvml: ModuleType, names: str | tuple[str, ...], *args: Any) -> Any:
    """What the first of these NVML functions that works returns; None when none does.

    NVMLError: driver, card or permission denies it. AttributeError: an old pynvml lacks it.
    UnicodeDecodeError: pynvml decodes names itself, and a process name may be any bytes.
    """
    for name in (names,) if isinstance(names, str) else names:
        with suppress(nvml.NVMLError, AttributeError, UnicodeDecodeError):
            return getattr(nvml, name)(*args)
    return None


def _card(nvml: ModuleType, index: int) -> Gpu:
    handle = _read(nvml, "nvmlDeviceGetHandleByIndex", index)
    if handle is None:
        return Gpu(index=index, name=f"card {index} (does not answer)")
    card = _with_readings(nvml, handle, _identity(nvml, handle, index))
    return replace(card, processes=_processes(nvml, handle))


def _identity(nvml: ModuleType, handle: Any, index: int) -> Gpu:
    """What cannot change while the machine runs."""
    capability = _read(nvml, "nvmlDeviceGetCudaComputeCapability", handle)
    return Gpu(
        index=index,
        name=_text(_read(nvml, "nvmlDeviceGetName", handle)) or f"card {index}",
        uuid=_text(_read(nvml, "nvmlDeviceGetUUID", handle)),
        compute_capability=capability,
        bf16=None if capability is None else capability >= (8, 0),
    )


def _with_readings(nvml: ModuleType, handle: Any, card: Gpu) -> Gpu:
    """`card` with memory, temperature, power and utilisation as they are now."""
    memory = _read(nvml, "nvmlDeviceGetMemoryInfo", handle)
    load = _read(nvml, "nvmlDeviceGetUtilizationRates", handle)
    sensor = nvml.NVML_TEMPERATURE_GPU
    thermometer = ("nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV")
    limit = ("nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetPowerManagementLimit")
    return replace(
        card,
        memory_total=memory and int(memory.total),
        memory_used=memory and int(memory.used),
        memory_free=memory and int(memory.free),
        temperature=_read(nvml, thermometer, handle, sensor),
        power=_watts(_read(nvml, "nvmlDeviceGetPowerUsage", handle)),
        power_limit=_watts(_read(nvml, limit, handle)),
        utilisation=load and int(load.gpu),
    )


def _processes(nvml: ModuleType, handle: Any) -> tuple[GpuProcess, ...] | None:
    """Compute and graphics processes, largest first; None when neither list can be read."""
    memory: dict[int, int | None] = {}
    readable = False
    for kind in ("Compute", "Graphics"):
        function = f"nvmlDeviceGet{kind}RunningProcesses"
        listed = _read(nvml, (f"{function}_v3", f"{function}_v2"), handle)
        readable = readable or listed is not None
        for process in listed or ():
            # A process on both lists is reported on each with all its memory: not added up.
            known = (memory.get(process.pid), process.usedGpuMemory)
            memory[process.pid] = max((m for m in known if m is not None), default=None)
    if not readable:
        return None
    found = (
        GpuProcess(pid=pid, name=_process_name(nvml, pid), memory=used)
        for pid, used in memory.items()
    )
    return tuple(sorted(found, key=lambda process: (-(process.memory or 0), process.pid)))


def _process_name(nvml: ModuleType, pid: int) -> str | None:
    """The program's file name, without folders and options: "python3", "Xorg"."""
    command = _text(_read(nvml, "nvmlSystemGetProcessName", pid))
    if not command:
        try:
            command = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
        except OSError:  # gone, hidden, or not Linux
            return None
    program = command.split(" -", 1)[0]
    return re.split(r"[/\\]", program)[-1].strip() or None


def _cuda(nvml: ModuleType) -> str | None:
    """Newest CUDA version the driver supports; NVML gives 12.4 as 12040."""
    functions = ("nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion")
    version = _read(nvml, functions)
    return f"{version // 1000}.{version % 1000 // 10}" if version else None


def _text(value: str | bytes | None) -> str | None:
    """Old pynvml versions return bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000
