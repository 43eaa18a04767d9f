"""How many threads: what is set, the environment, affinity, quotas of control groups, threadpoolctl."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import check_refusal, run, run_json
from support import ROOT, assert_same_bits
from team import every_call_shared, threads

import lstm
from lstm import threads as module
from lstm.cpus import cpu_quota, usable_cpus

NAMES = ("LSTM_NUM_THREADS", "OMP_NUM_THREADS")


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` with these variables and no other ones that set numbers of threads."""
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def number(before: str = "", **environment: str) -> int:
    """The number of threads in a new process."""
    done = run_python(f"{before}\nimport lstm; print(lstm.get_num_threads())", **environment)
    assert done.stderr == ""
    return int(done.stdout)


# ---- set


def test_what_is_set_is_told() -> None:
    before = lstm.get_num_threads()
    for count in (1, 2, 7, 256, np.int64(3), np.uint8(5)):
        with threads(count):
            assert lstm.get_num_threads() == count
            assert lstm.show_config("dict")["threads"] == count
    assert lstm.get_num_threads() == before


@pytest.mark.parametrize("count", [0, -1, 257, 1 << 70, True])
def test_numbers_out_of_range_raise(count: int) -> None:
    before = lstm.get_num_threads()
    with pytest.raises(ValueError, match=r"n is .*, but must be from 1 to 256"):
        lstm.set_num_threads(count)
    assert lstm.get_num_threads() == before


@pytest.mark.parametrize("count", [1.0, "2", [2], np.ones(2)])
def test_what_is_no_integer_raises(count: Any) -> None:
    with pytest.raises(TypeError, match=r"n is .*, but must be an integer or None"):
        lstm.set_num_threads(count)


# ---- the environment


def test_the_variable_of_this_package() -> None:
    assert number(LSTM_NUM_THREADS="3") == 3
    assert number(LSTM_NUM_THREADS="1", OMP_NUM_THREADS="2") == 1
    assert number(LSTM_NUM_THREADS="") == number()


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", " 2", "2 ", "257", "1,2", "٣", "9" * 5000])
def test_a_wrong_variable_raises(value: str) -> None:
    with pytest.raises(ValueError, match=r"LSTM_NUM_THREADS is .*, but must be an integer from 1 to 256"):
        module.default_threads({"LSTM_NUM_THREADS": value})


def test_a_wrong_variable_raises_at_import() -> None:
    done = run_python("import lstm", LSTM_NUM_THREADS="two")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ValueError: the environment variable LSTM_NUM_THREADS is 'two', but must be an integer from 1 to 256"
    )


def test_a_command_with_a_wrong_variable_ends_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lstm", "info"],
        env={**os.environ, "LSTM_NUM_THREADS": "many"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("lstm: the environment variable LSTM_NUM_THREADS is 'many'")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("value", "count"),
    [("1", 1), ("2", 2), ("3,1", 3), (" 2 ", 2), ("64", 4), ("", 4), ("0", 4), ("-1", 4), ("all", 4)],
)
def test_the_variable_of_openmp(value: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not ask for more threads than there are CPUs, and what it means otherwise is not ours."""
    monkeypatch.setattr(module, "usable_cpus", lambda: 4)
    assert module.default_threads({"OMP_NUM_THREADS": value}) == (count, False)
    assert module.default_threads({"OMP_NUM_THREADS": value, "LSTM_NUM_THREADS": "5"}) == (5, True)


# ---- commands


def test_the_option_of_commands(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It counts for the command alone, and does not change what is written."""
    net = lstm.LSTM(3, 40, num_layers=2, dtype=np.float32, rng=0)
    net.save(tmp_path / "net.npz")
    np.save(tmp_path / "X.npy", np.random.default_rng(0).standard_normal((9, 50, 3)))
    expected = net.forward_sequence(np.load(tmp_path / "X.npy"))
    before = lstm.get_num_threads()
    with every_call_shared():
        for count in (1, 3):
            words = ["run", tmp_path / "net.npz", tmp_path / "X.npy", "-o", tmp_path / "Y.npy"]
            status, _, _ = run(capsys, *words, "--threads", str(count))
            assert status == 0
            assert_same_bits(np.load(tmp_path / "Y.npy"), expected)
            assert lstm.get_num_threads() == before
    status, report = run_json(capsys, "compare", tmp_path / "net.npz", "--threads", "3")
    assert (status, report["threads"]) == (0, 3)


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "257", ""])
def test_the_option_with_a_wrong_value(
    value: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["run", tmp_path / "net.npz", tmp_path / "X.npy", "-o", tmp_path / "Y.npy"]
    found = run(capsys, *words, f"--threads={value}")
    check_refusal(*found, ["--threads", "must be an integer from 1 to 256", repr(value)])


# ---- affinity

needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinities")
ONE_CPU = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
SHARED_CALL = """
import os, numpy as np, lstm
lstm._kernel.share_grains(100, True)
net = lstm.LSTM(5, 49, dtype=np.float32, rng=0)
X = np.random.default_rng(0).standard_normal((40, 30, 5)).astype(np.float32)
def helpers():
    return len(os.listdir("/proc/self/task")) - before
before = len(os.listdir("/proc/self/task"))
"""


@needs_affinity
def test_an_affinity_of_one_cpu() -> None:
    assert number(ONE_CPU) == 1
    assert number(ONE_CPU, OMP_NUM_THREADS="4") == 1
    assert number(ONE_CPU, LSTM_NUM_THREADS="4") == 4


@needs_affinity
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs /proc")
def test_an_affinity_that_is_set_after_the_import() -> None:
    """A thread that may use one CPU wakes no other unless it was told to; nor does that cost bits."""
    done = run_python(
        f"{SHARED_CALL}\n{ONE_CPU}\n"
        "expected = net.forward_sequence(X)\n"
        "assert helpers() == 0, helpers()\n"
        "lstm.set_num_threads(3)\n"
        "assert np.array_equal(net.forward_sequence(X), expected)\n"
        "assert helpers() == 2, helpers()"
    )
    assert (done.returncode, done.stderr) == (0, "")


# ---- control groups

V1 = "12:cpu,cpuacct:/docker/a\n11:memory:/docker/a\n0::/system\n"
V1_MOUNTS = (
    "30 20 0:25 {root} /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
    "31 20 0:26 {root} /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
)
V2_MOUNTS = "29 20 0:24 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"


def made_up(folder: Path, cgroup: str, mounts: str, files: dict[str, str]) -> float | None:
    """The quota by these files."""
    for name, text in {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return cpu_quota(folder)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"a/cpu.max": "400000 100000", "cpu.max": "max 100000"}, 4.0),
        ({"a/cpu.max": "max 100000", "cpu.max": "20000 10000"}, 2.0),
        ({"a/b/cpu.max": "300000 100000", "a/cpu.max": "100000 200000"}, 0.5),
        ({"a/c/cpu.max": "10000 100000"}, None),  # another group's
        ({"cpu.max": ""}, None),
        ({"cpu.max": "nonsense"}, None),
        ({"cpu.max": "0 100000"}, None),
        ({"cpu.max": "100000 0"}, None),
        ({}, None),
    ],
)
def test_quotas_of_version_2(files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    placed = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    assert made_up(tmp_path, "0::/a/b\n", V2_MOUNTS.format(root="/"), placed) == quota


@pytest.mark.parametrize("root", ["/", "/docker/a"])
@pytest.mark.parametrize(
    ("quota", "period", "cpus"), [("250000", "100000", 2.5), ("-1", "100000", None), ("50000", "", None)]
)
def test_quotas_of_version_1(root: str, quota: str, period: str, cpus: float | None, tmp_path: Path) -> None:
    """Mounted whole, or as a container sees its own group."""
    folder = "sys/fs/cgroup/cpu,cpuacct" + ("/docker/a" if root == "/" else "")
    files = {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": period}
    assert made_up(tmp_path, V1, V1_MOUNTS.format(root=root), files) == cpus


def test_a_group_that_is_mounted_under_another_name(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/cpu.max": "100000 100000"}
    assert made_up(tmp_path, "0::/../x\n", V2_MOUNTS.format(root="/kubepods/y"), files) == 1.0


def test_no_control_groups(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    assert made_up(tmp_path, "nonsense\n:\n", "nonsense - cgroup2\n1 2 - x\n", {}) is None


@pytest.mark.parametrize(("quota", "count"), [(None, 8), (0.5, 1), (1.0, 1), (1.9, 1), (2.5, 2), (64.0, 8)])
def test_a_quota_bounds_the_cpus(quota: float | None, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("lstm.cpus.cpu_quota", lambda: quota)
    assert usable_cpus() == count


# ---- threadpoolctl, joblib, Dask


@pytest.mark.parametrize("first", ["lstm", "threadpoolctl"])
def test_threadpoolctl_limits_the_threads(first: str) -> None:
    """Whichever of the two is imported first."""
    pytest.importorskip("threadpoolctl")
    done = run_python(
        f"import {first}\n"
        "import sys, lstm\n"
        f"assert ('threadpoolctl' in sys.modules) == ({first!r} == 'threadpoolctl')\n"
        "import threadpoolctl\n"
        "assert sum(type(one).__name__ == '_Watch' for one in sys.meta_path) == 0\n"
        "def ours():\n"
        "    return [one for one in threadpoolctl.threadpool_info() if one['user_api'] == 'lstm']\n"
        "lstm.set_num_threads(5)\n"
        "assert [one['num_threads'] for one in ours()] == [5]\n"
        "assert ours()[0]['version'] == lstm.__version__\n"
        "for limits in (1, {'lstm': 1}):\n"
        "    with threadpoolctl.threadpool_limits(limits):\n"
        "        assert lstm.get_num_threads() == 1\n"
        "    assert lstm.get_num_threads() == 5\n"
        "with threadpoolctl.threadpool_limits(1, user_api='blas'):\n"
        "    assert lstm.get_num_threads() == 5\n"
        "with threadpoolctl.threadpool_limits(2, user_api='lstm'):\n"
        "    assert lstm.get_num_threads() == 2\n"
        "assert threadpoolctl.__spec__.loader.get_source('threadpoolctl')"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_without_threadpoolctl() -> None:
    """An import of it fails as ever where it is not installed."""
    done = run_python(
        "import sys, lstm\n"
        "sys.path[:] = []\n"
        "sys.path_importer_cache.clear()\n"
        "sys.meta_path[:] = sys.meta_path[:1] + sys.meta_path[-1:]\n"
        "try:\n"
        "    import threadpoolctl\n"
        "except ModuleNotFoundError as error:\n"
        "    assert error.name == 'threadpoolctl'\n"
        "else:\n"
        "    raise AssertionError"
    )
    assert (done.returncode, done.stderr) == (0, "")


def check_script(folder: Path, script: str) -> None:
    path = folder / "script.py"
    path.write_text(script)
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, str(path)],
        env={
            **kept,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *kept.get("PYTHONPATH", "").split(os.pathsep)]),
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_workers_of_joblib_have_one_thread(tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    check_script(
        tmp_path,
        "import joblib\n"
        "def count(_):\n"
        "    import lstm\n"
        "    return lstm.get_num_threads()\n"
        "if __name__ == '__main__':\n"
        "    with joblib.parallel_config('loky', n_jobs=2, inner_max_num_threads=1):\n"
        "        assert joblib.Parallel()(joblib.delayed(count)(k) for k in range(4)) == [1] * 4\n",
    )


def test_workers_of_dask_have_one_thread(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    check_script(
        tmp_path,
        "from distributed import Client, LocalCluster\n"
        "def count():\n"
        "    import lstm\n"
        "    return lstm.get_num_threads()\n"
        "if __name__ == '__main__':\n"
        "    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:\n"
        "        with Client(cluster) as client:\n"
        "            assert client.submit(count).result() == 1\n",
    )
