"""Compiled loops: numba's just-in-time compiler, its cache on disk, and what happens where neither can be written."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["compiled", "compiled_at_first_call"]


def compiled(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function for one signature and keeps the machine code on disk.

    The code is kept beside the package, or in the user's cache folder where the package cannot be written to; where
    neither can, it is compiled anew in each process. What was compiled of other sources is never used. Sums may be reordered for the vector unit of the processor, in
    a way that does not depend on the number of cores: nothing here runs in parallel. The functions make no arrays:
    they fill those that they are given, which halves the time that compiling them takes.

    Parameters
    ----------
    signature
        Types of arguments and result as numba writes them, such as ``"float64(float64[::1])"``.
    """
    import numba

    def compile_function(function: Callable[..., Any]) -> Any:
        options: dict[str, Any] = {
            "nogil": True,
            "fastmath": {"reassoc", "contract", "nsz"},
            "error_model": "numpy",
            "no_cfunc_wrapper": True,
            "_nrt": False,
        }
        with _interruption_held():
            try:
                with _kept_by_source():
                    return numba.njit(signature, cache=True, **options)(function)
            except (RuntimeError, OSError):  # no folder of numba's can hold the cache, or the disk is full
                return numba.njit(signature, **options)(function)

    return compile_function


def compiled_at_first_call(function: Callable[..., Any]) -> Any:
    """Compile for the types of the first call, arrays of its own included, and keep the machine code where `compiled` does."""
    import numba

    try:
        with _kept_by_source():
            return numba.njit(cache=True)(function)
    except (RuntimeError, OSError):
        return numba.njit(function)


@contextmanager
def _interruption_held() -> Iterator[None]:
    """Hold an interruption from the keyboard until the end: one that comes in a callback of the compiler is lost.

    The compiler would print it as an exception that was ignored, and whoever pressed the keys would wait for the whole run.
    """
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield
        return
    held: list[tuple[int, Any]] = []
    signal.signal(signal.SIGINT, lambda number, frame: held.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if held:
            usual(*held[-1])


@contextmanager
def _kept_by_source() -> Iterator[None]:
    """Keep machine code in a folder named after the sources of all compiled functions.

    numba looks at the file of the function alone, so that a function would go on calling the old machine code of
    another file that has changed since, be it after an upgrade of the package.
    """
    from numba.core import config

    chosen = config.CACHE_DIR
    folder = _folder(chosen)
    if folder is not None:
        config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = chosen


@lru_cache(maxsize=1)
def _folder(chosen: str) -> Path | None:
    """Return the first folder that can be made: where numba was told to, beside the package, in the user's cache."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parents = [Path(chosen)] if chosen else [_PACKAGE / "__pycache__", user / "trialml"]
    for parent in parents:
        folder = parent / f"compiled-{_digest()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return None


_PACKAGE = Path(__file__).parents[1]


def _digest() -> str:
    """Return a digest of every file that holds compiled functions."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.glob("*/*.py")):
        content = path.read_bytes()
        if b"survival.compile import" in content or path == Path(__file__):
            digest.update(content)
    return digest.hexdigest()[:16]
