"""Which process makes a run, and whether it is still there: a killed one leaves its run open for ever."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from pathlib import Path

__all__ = ["RUN_MARK", "is_gone", "process_tags", "user_name"]

RUN_MARK = "trialml.mark"
"""Tag that holds a run's `TrackedRun.mark`."""


def user_name() -> str:
    """Return the name of who is logged in, ``"unknown"`` where the system has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a user
        return "unknown"


def process_tags() -> dict[str, str]:
    """Return the tags by which `is_gone` knows this process again, and the analyst's name where MLflow shows it."""
    pid = os.getpid()
    return {
        "mlflow.user": user_name(),
        "trialml.host": socket.gethostname(),
        "trialml.pid": str(pid),
        "trialml.process_started": _started(pid),
    }


def is_gone(tags: Mapping[str, str]) -> bool | None:
    """Return whether the process of a run has ended; None where that cannot be told from here.

    Parameters
    ----------
    tags
        Of the run.
    """
    pid = tags.get("trialml.pid", "")
    if os.name == "nt" or tags.get("trialml.host") != socket.gethostname() or not pid.isdigit():
        return None  # on Windows the question itself would end the process
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is there, and another user's
        pass
    # The number may have been given to a new process since.
    began = tags.get("trialml.process_started", "")
    now = _started(int(pid))
    return bool(began and now and began != now) or _is_dead(int(pid))


def _fields(pid: int) -> list[str]:
    """Return what Linux says of a process after its name, which may hold spaces; nothing on other systems."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _started(pid: int) -> str:
    """Return when a process started, in clock ticks since the machine did; empty where that is not known."""
    fields = _fields(pid)
    return fields[19] if len(fields) > 19 else ""


def _is_dead(pid: int) -> bool:
    """Return whether a process has ended and only its parent has not asked yet how."""
    return _fields(pid)[:1] in (["Z"], ["X"])
