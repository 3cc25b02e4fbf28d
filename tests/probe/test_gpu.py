"""GPU facts through the real pynvml, each in a process that meets a stub driver."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.nvml import Variant, build_stub

GIB = 2**30
Run = Callable[..., Any]

PROBE = """
import json, time
from backprop_tui.core.facts import to_json
from backprop_tui.probe.gpu import probe_gpu
start = time.perf_counter()
facts = probe_gpu()
print(json.dumps(to_json(facts) | {"seconds": time.perf_counter() - start}))
"""


@pytest.fixture(scope="session")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nvml")


@pytest.fixture
def run(stubs: Path) -> Run:
    """Runs a script on a machine of that variant; its last line, JSON, is the result."""

    def start(
        variant: Variant, script: str = PROBE, *, live: bool = False, **environment: str
    ) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=build_stub(stubs, variant, live=live) | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return json.loads(done.stdout)

    return start


def test_one_idle_card(run: Run) -> None:
    facts = run("one16")
    assert facts["problem"] is None
    assert (facts["driver"], facts["cuda"]) == ("550.54.14", "12.4")
    (card,) = facts["cards"]
    assert card == {
        "index": 0,
        "name": "NVIDIA GeForce RTX 4060 Ti",
        "uuid": "GPU-00000000-aaaa",
        "memory_total": 16380 * 2**20,
        "memory_used": 312 * 2**20,
        "memory_free": 16068 * 2**20,
        "compute_capability": [8, 9],
        "bf16": True,
        "temperature": 41,
        "power": 11.4,
        "power_limit": 165.0,
        "utilisation": 0,
        "processes": [],
    }


def test_two_cards_keep_their_own_readings(run: Run) -> None:
    first, second = run("two")["cards"]
    assert (first["index"], second["index"]) == (0, 1)
    assert second["name"] == "NVIDIA GeForce RTX 2080 Ti"
    assert second["memory_total"] == 11 * GIB
    assert (first["bf16"], second["bf16"]) == (True, False)
    assert second["utilisation"] == 17


def test_processes_are_merged_named_and_sorted(run: Run) -> None:
    (card,) = run("busy9")["cards"]
    # pid 1 is named by /proc, as NVML refuses; the last has a name that is not UTF-8 and is
    # on no list of Linux; python3 is on the compute and the graphics list, counted once.
    assert card["processes"] == [
        {"pid": 4242, "name": "python3", "memory": 9 * GIB},
        {"pid": 1001, "name": "Xorg", "memory": 160 * 2**20},
        {"pid": 1, "name": Path("/proc/1/comm").read_text().strip(), "memory": 16 * 2**20},
        {"pid": 5000001, "name": None, "memory": None},
    ]
    assert card["memory_free"] < 7 * GIB


def test_an_old_driver_gives_what_it_has(run: Run) -> None:
    facts = run("old")
    (card,) = facts["cards"]
    assert (facts["problem"], facts["cuda"]) == (None, "11.2")
    assert card["memory_total"] == 11 * GIB
    assert card["temperature"] == 47
    assert [process["pid"] for process in card["processes"]] == [1]  # through the v2 function
    missing = ("compute_capability", "bf16", "power", "power_limit", "utilisation")
    assert {key: card[key] for key in missing} == dict.fromkeys(missing)


def test_denied_readings_are_none(run: Run) -> None:
    (card,) = run("mig")["cards"]
    assert card["name"] == "NVIDIA A30"
    missing = ("memory_total", "memory_used", "memory_free", "utilisation", "processes")
    assert {key: card[key] for key in missing} == dict.fromkeys(missing)
    assert card["temperature"] == 33


@pytest.mark.parametrize(
    ("variant", "code", "reason"),
    [
        ("none", "", "No NVIDIA driver is installed"),
        ("initfail", "", "installed but not loaded"),
        ("one16", "18", "restart the machine"),
        ("one16", "4", "no permission"),
        ("one16", "42", "does not answer: Stub Error"),
        ("nocards", "", "runs but finds no card"),
    ],
)
def test_no_card_says_why_and_what_still_works(
    run: Run, variant: Variant, code: str, reason: str
) -> None:
    facts = run(variant, NVML_STUB_INIT=code)
    assert facts["cards"] == []
    assert reason in facts["problem"]
    assert "CPU, for tiny models only" in facts["problem"]
    assert facts["driver"] == ("550.54.14" if variant == "nocards" else None)


def test_no_driver_answers_at_once(run: Run) -> None:
    assert run("none")["seconds"] < 0.2


def test_cuda_visible_devices_hides_nothing(run: Run) -> None:
    assert len(run("two", CUDA_VISIBLE_DEVICES="1")["cards"]) == 2


SAMPLE = """
import json
from backprop_tui.core.facts import to_json
from backprop_tui.probe.gpu import GpuSampler
sampler = GpuSampler({index})
before = sampler.read()
with sampler:
    inside = sampler.read()
print(json.dumps([card and to_json(card) for card in (before, inside, sampler.read())]))
"""


def test_sampler_reads_one_card_without_processes(run: Run) -> None:
    before, inside, after = run("two", SAMPLE.format(index=1))
    assert before is None
    assert after is None
    assert inside["name"] == "NVIDIA GeForce RTX 2080 Ti"
    assert inside["index"] == 1
    assert inside["memory_used"] == 210 * 2**20
    assert inside["power"] == 62.5
    assert inside["processes"] is None


@pytest.mark.parametrize(
    ("variant", "held"),
    [
        ("shared", 9 * GIB),  # and 2 GB of its own, which are not another's
        ("busy9", None),  # not on the list, as in a container: nobody knows which one it is
        ("one16", None),
        ("mig", None),
        ("none", None),
    ],
)
def test_what_other_processes_hold(run: Run, variant: Variant, held: int | None) -> None:
    script = """
import json
from backprop_tui.probe.gpu import GpuSampler
with GpuSampler() as sampler:
    print(json.dumps(sampler.others()))
"""
    assert run(variant, script) == held


@pytest.mark.parametrize(("before", "others"), [(None, None), (700, 700)])
def test_where_the_list_does_not_tell_others_hold_what_was_held_before(
    run: Run, before: int | None, others: int | None
) -> None:
    script = f"""
import json, time
from backprop_tui.train.gpu_sampler import sampling
seen = []
with sampling(0, seen.append, lambda: 0.0, {before}):
    end = time.monotonic() + 5
    while not seen and time.monotonic() < end:
        time.sleep(0.01)
print(json.dumps([seen[0].others, seen[0].memory_total]))
"""
    assert run("one16", script) == [others, 16380 * 2**20]
    assert run("shared", script) == [9 * GIB, 16380 * 2**20]


@pytest.mark.parametrize(("variant", "index"), [("none", 0), ("initfail", 0), ("one16", 7)])
def test_sampler_without_that_card_reads_none(run: Run, variant: Variant, index: int) -> None:
    assert run(variant, SAMPLE.format(index=index)) == [None, None, None]


def test_sampler_follows_a_card_that_moves(run: Run) -> None:
    script = """
import json, time
from backprop_tui.probe.gpu import GpuSampler
seen = set()
with GpuSampler() as sampler:
    end = time.monotonic() + 5
    while len(seen) < 3 and time.monotonic() < end:
        card = sampler.read()
        seen.add((card.memory_used, card.utilisation))
        time.sleep(0.02)
print(json.dumps(sorted(seen)))
"""
    assert len(run("one16", script, live=True)) == 3
    assert len(run("one16", script.replace("+ 5", "+ 0.2"))) == 1


def test_the_driver_is_let_go(run: Run) -> None:
    script = """
import json, pynvml
from backprop_tui.probe.gpu import GpuSampler, probe_gpu
probe_gpu()
counts = [pynvml.nvmlLib.stub_users()]
with GpuSampler() as sampler:
    probe_gpu()
    counts.append(pynvml.nvmlLib.stub_users())
    readable = sampler.read() is not None
counts.append(pynvml.nvmlLib.stub_users())
print(json.dumps([counts, readable]))
"""
    assert run("one16", script) == [[0, 1, 0], True]
    assert run("nocards", script) == [[0, 1, 0], False]


def test_without_pynvml_the_reason_is_named(run: Run) -> None:
    script = "import sys; sys.modules['pynvml'] = None" + PROBE
    assert "nvidia-ml-py is not installed" in run("one16", script)["problem"]


THROTTLE = """
import json
from backprop_tui.probe.gpu import GpuSampler
sampler = GpuSampler()
with sampler:
    inside = sampler.throttle()
print(json.dumps([inside, sampler.throttle()]))
"""


CLOCKS = {
    "0x000": "",
    "0x001": "",  # idle
    "0x002": "",  # clocks that somebody set
    "0x010": "",  # in step with other cards
    "0x100": "",  # a display's clocks
    "0x101": "",
    "0x004": "power",
    "0x080": "power",
    "0x088": "power",
    "0x020": "thermal",
    "0x040": "thermal",
    "0x048": "thermal",  # the hardware, for its heat
    "0x064": "thermal",  # both: heat can be helped
    "0x008": "hardware",
    "0x8000000000000000": "",  # a reason that a later driver may have
}


@pytest.mark.parametrize("variant", ["one16", "old"])
def test_why_a_card_holds_its_clocks_back(run: Run, variant: Variant) -> None:
    script = f"""
import ctypes, json
from backprop_tui.probe.gpu import GpuSampler
setenv = ctypes.CDLL(None).setenv
causes = {{}}
with GpuSampler() as sampler:
    for bits in {list(CLOCKS)}:
        setenv(b"NVML_STUB_CLOCKS", bits.encode(), 1)
        causes[bits] = sampler.throttle()
print(json.dumps(causes))
"""
    assert run(variant, script) == CLOCKS


@pytest.mark.parametrize("variant", ["mig", "none", "initfail", "nocards"])
def test_a_driver_that_does_not_say_why_holds_nothing_back(run: Run, variant: Variant) -> None:
    assert run(variant, THROTTLE, NVML_STUB_CLOCKS="0x020") == ["", ""]


def test_a_driver_and_a_pynvml_of_either_name_are_asked(run: Run) -> None:
    without = """
import pynvml
for name in {names}:
    delattr(pynvml, name)
"""
    newer = "nvmlDeviceGetCurrentClocksEventReasons"
    older = "nvmlDeviceGetCurrentClocksThrottleReasons"
    for names, cause in (([newer], "thermal"), ([older], "thermal"), ([newer, older], "")):
        script = without.format(names=names) + THROTTLE
        assert run("one16", script, NVML_STUB_CLOCKS="0x020") == [cause, ""]


@pytest.mark.parametrize(("bits", "cause"), [("0x004", "power"), ("0x001", "")])
def test_the_readings_of_a_run_say_what_holds_the_card_back(
    run: Run, bits: str, cause: str
) -> None:
    script = """
import json, time
from backprop_tui.train.gpu_sampler import sampling
seen = []
with sampling(0, seen.append, lambda: 0.0):
    end = time.monotonic() + 5
    while not seen and time.monotonic() < end:
        time.sleep(0.01)
print(json.dumps(seen[0].throttle))
"""
    assert run("one16", script, NVML_STUB_CLOCKS=bits) == cause
