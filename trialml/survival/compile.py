"""Compiled loops: numba's just-in-time compiler, its cache on disk, and what happens where neither can be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["compiled"]


def compiled(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function for one signature and keeps the machine code on disk.

    The code is kept beside the module, or in the user's cache folder where the package cannot be written to; where
    neither can, it is compiled anew in each process. Sums may be reordered for the vector unit of the processor, in
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
        try:
            return numba.njit(signature, cache=True, **options)(function)
        except (RuntimeError, OSError):  # no folder of numba's can hold the cache, or the disk is full
            return numba.njit(signature, **options)(function)

    return compile_function
