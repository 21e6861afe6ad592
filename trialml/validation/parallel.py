"""Independent pieces of resampling on one core or several, with the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["in_order"]

Task = TypeVar("Task")
Answer = TypeVar("Answer")


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
        Processes; 1 stays in this one, -1 takes every core.
    advance
        Called after each task.
    """
    if workers == 1:
        answers: Iterable[Answer] = map(work, tasks)
    else:
        from joblib import Parallel, delayed

        pool = Parallel(n_jobs=workers, batch_size=1, return_as="generator")
        answers = pool(delayed(work)(task) for task in tasks)
    for answer in answers:
        advance()
        yield answer
