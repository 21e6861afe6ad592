"""Independent pieces of resampling on one core, on several, or on a cluster, with the same numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from trialml.errors import AnalysisError

__all__ = ["in_order", "on_a_cluster", "on_cluster"]

Task = TypeVar("Task")
Answer = TypeVar("Answer")

_CLUSTER: ContextVar[bool] = ContextVar("trialml_cluster", default=False)


def on_a_cluster() -> bool:
    """Return whether independent pieces go to a cluster here."""
    return _CLUSTER.get()


@contextmanager
def on_cluster(address: str | None) -> Iterator[None]:
    """Send independent pieces of work to a running Dask cluster.

    Parameters
    ----------
    address
        Of the cluster's scheduler, ``tcp://host:port``; None stays on this machine. Whoever reaches a scheduler can run code on its
        workers: keep it within a network that is trusted.

    Raises
    ------
    AnalysisError
        If the package ``distributed`` is not installed, the address is none, or no scheduler or worker answers there.
    """
    if address is None:
        yield
        return
    if not re.fullmatch(r"(tcp|tls)://[^\s/]+:\d+", address):
        raise AnalysisError(
            f"--scheduler '{address}' is no address: give the scheduler's, such as tcp://127.0.0.1:8786."
        )
    try:
        import distributed
    except ImportError as error:
        raise AnalysisError("--scheduler needs the package distributed: pip install 'trialml[dask]'.") from error
    import joblib

    try:
        client = distributed.Client(address, timeout=10, set_as_default=True)
    except (OSError, ValueError) as error:
        raise AnalysisError(f"No Dask scheduler answers at '{address}': start it, or leave --scheduler out.") from error
    token = _CLUSTER.set(True)
    try:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise AnalysisError(f"The Dask scheduler at '{address}' has no workers: start some.")
        with joblib.parallel_config(backend="dask", wait_for_workers_timeout=10):
            yield
    finally:
        _CLUSTER.reset(token)
        client.close()


def in_order(
    work: Callable[[Task], Answer],
    tasks: Iterable[Task],
    *,
    workers: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> Iterator[Answer]:
    """Yield `work` of each task in the tasks' order.

    Parameters
    ----------
    work
        Depends on its task alone: a task carries its own rows and seed, so that the answers do not depend on
        `workers`.
    tasks
        One process takes one task at a time, whatever the number of processes.
    workers
        Processes; 1 stays in this one, -1 takes every core. Within `on_cluster` the cluster's workers take them all.
    advance
        Called after each task.
    """
    if workers == 1 and not on_a_cluster():
        answers: Iterable[Answer] = map(work, tasks)
    else:
        from joblib import Parallel, delayed

        if on_a_cluster():
            _refuse_unsendable(work)
        pool = Parallel(n_jobs=-1 if on_a_cluster() else workers, batch_size=1, return_as="generator")
        answers = pool(delayed(work)(task) for task in tasks)
    for answer in answers:
        advance()
        yield answer


def _refuse_unsendable(work: object) -> None:
    """Refuse what cannot be sent to another machine, for which a cluster would wait without end."""
    import cloudpickle

    try:
        cloudpickle.dumps(work)
    except Exception as error:
        raise AnalysisError(
            f"A piece of the work cannot be sent to the cluster ({type(error).__name__}): leave --scheduler out."
        ) from error
