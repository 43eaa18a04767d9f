"""How many CPUs this process may use: its affinity, and the quotas of its control groups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def usable_cpus() -> int:
    """The CPUs of the affinity, or fewer if a control group's quota is less; at least 1."""
    has_affinity = hasattr(os, "sched_getaffinity")
    count = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    quota = cpu_quota()
    # Threads beyond the quota would use it up early, and all would wait for the next period.
    return count if quota is None else max(1, min(count, int(quota)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The least quota, in CPUs, of this process's control groups of version 1 or 2, or None.

    `root` is where /proc and the file systems that it names are looked for.
    """
    quotas = [_quota_of(folder) for folder in _group_folders(root)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _group_folders(root: Path) -> Iterator[Path]:
    """The folders of the groups that bound this process's CPU time, and those of all groups above."""
    groups = {}
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "" or "cpu" in controllers.split(","):
            groups["cgroup2" if controllers == "" else "cgroup"] = PurePosixPath(path)
    for line in _read(root / "proc/self/mountinfo").splitlines():
        mount, _, rest = line.partition(" - ")
        fields, kind = mount.split(), rest.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in groups:
            continue
        if kind[0] == "cgroup" and "cpu" not in kind[2].split(","):
            continue
        top = root / fields[4].lstrip("/")
        group, mounted = groups[kind[0]], PurePosixPath(fields[3])
        # A container may see its group under another name than the one it is mounted as.
        below = group.relative_to(mounted) if group.is_relative_to(mounted) else PurePosixPath()
        folder = top / below
        while True:
            yield folder
            if folder == top:
                break
            folder = folder.parent


def _quota_of(folder: Path) -> float | None:
    """The quota of one group in CPUs; None if it has none."""
    words = _read(folder / "cpu.max").split() or [
        *_read(folder / "cpu.cfs_quota_us").split(),
        *_read(folder / "cpu.cfs_period_us").split(),
    ]
    try:
        quota, period = map(int, words)
    except ValueError:  # "max", or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
