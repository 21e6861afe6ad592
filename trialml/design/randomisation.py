"""Randomisation lists: permuted blocks within stratification factors, the same on any machine for a seed.

Random numbers come from SHA-256 over method, version, seed, stratum and a counter, so that a list does not depend on
the release of a numerical library, nor on how many strata there are or in what order they are named. Choices among n
are exact: words outside the largest multiple of n are drawn again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from trialml.design.refusals import require_finite, require_positive
from trialml.errors import AnalysisError, OutputError

__all__ = ["RandomisationList", "Words", "checked_arms", "checked_factors", "permuted_blocks"]

METHOD, VERSION = "permuted blocks", 1
"""A change of the algorithm changes the version, and so every list."""

_TOP = 2**64


class Words:
    """Random whole numbers of one stratum, from SHA-256 in counter mode.

    Parameters
    ----------
    method, version, seed
        Of the list.
    label
        What the numbers are for: a stratum as a mapping of factor to level, or a patient's number.
    """

    def __init__(self, method: str, version: int, seed: int, label: object) -> None:
        key = json.dumps([method, version, seed, label], sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        self._key = key.encode("ascii")
        self._words = self._all()

    def _all(self) -> Iterator[int]:
        for counter in itertools.count():
            digest = hashlib.sha256(self._key + b"\n" + str(counter).encode("ascii")).digest()
            for place in range(0, 32, 8):
                yield int.from_bytes(digest[place : place + 8], "big")

    def below(self, n: int) -> int:
        """Return a number from 0 to `n` - 1, each with the same probability."""
        limit = _TOP - _TOP % n
        return next(word for word in self._words if word < limit) % n

    def unit(self) -> float:
        """Return a number from 0 on and below 1, a multiple of ``2**-53``."""
        return (next(self._words) >> 11) / 2**53

    def shuffled(self, items: Sequence[str]) -> list[str]:
        """Return the items in random order, each order with the same probability (Fisher and Yates)."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order


@dataclass(frozen=True, eq=False)
class RandomisationList:
    """A list of allocations made before the trial. It unblinds whoever sees it, so it is no `Result` and in no report.

    Attributes
    ----------
    allocations
        One row an allocation, strata in alphabetical order: the stratification factors, number (within the stratum,
        from 1), block, block_size, arm.
    arms
        Each arm with its part of the allocation ratio.
    block_sizes
        From which each block's size is drawn.
    seed, method, version
        Of the algorithm; the same three give the same list.
    """

    allocations: pd.DataFrame
    arms: Mapping[str, int]
    block_sizes: tuple[int, ...]
    seed: int
    method: str = METHOD
    version: int = VERSION

    @property
    def factors(self) -> list[str]:
        """The stratification factors, in alphabetical order."""
        return list(self.allocations.columns[:-4])

    def frame(self) -> pd.DataFrame:
        """Return one row an allocation."""
        return self.allocations

    def text(self) -> str:
        """Return the method in words, fit for a protocol's appendix; it gives no allocation away."""
        ratio = ":".join(str(part) for part in self.arms.values())
        sizes = ", ".join(str(size) for size in self.block_sizes)
        within = f" within {' and '.join(self.factors)}" if self.factors else ""
        drawn = "of size" if len(self.block_sizes) == 1 else "of sizes drawn at random from"
        return (
            f"Randomisation list of {len(self.allocations):,} allocations to {', '.join(self.arms)} ({ratio}) by permuted blocks "
            f"{drawn} {sizes}{within}; trialml algorithm '{self.method}', version {self.version}, seed {self.seed}."
        )

    def to_csv(self, path: str | Path) -> None:
        """Write the list as CSV below comment lines (#) that say method, version and seed.

        Raises
        ------
        OutputError
            If the file cannot be written, or exists: a list in use must not be replaced.
        """
        head = f"# {self.text()}\n# method: {self.method}\n# version: {self.version}\n# seed: {self.seed}\n"
        try:
            with Path(path).open("x", encoding="utf-8", newline="") as file:
                file.write(head)
                self.allocations.to_csv(file, index=False, lineterminator="\n")
        except FileExistsError:
            raise OutputError(f"the randomisation list '{path}' exists already: choose another name") from None
        except OSError as error:
            raise OutputError(f"the randomisation list cannot be written to '{path}' ({error.strerror})") from None


def permuted_blocks(
    arms: Mapping[str, int] | Sequence[str],
    patients_per_stratum: int,
    *,
    seed: int,
    block_sizes: Sequence[int] = (),
    factors: Mapping[str, Sequence[str]] | None = None,
) -> RandomisationList:
    """Make a randomisation list by permuted blocks, within every combination of stratification factors.

    Parameters
    ----------
    arms
        Arms with their parts of the allocation ratio, ``{"control": 1, "experimental": 2}``, or a sequence of equal
        arms; two or more.
    patients_per_stratum
        Allocations to prepare in each stratum; the last block is completed, so that there may be more.
    seed
        A whole number; keep it with the list, as secret as the list.
    block_sizes
        Multiples of the sum of the ratio. One size is fixed blocks; of several, each block's is drawn with equal
        probability. Empty for twice and three times the sum.
    factors
        Stratification factors with their levels.

    Returns
    -------
    RandomisationList
        A stratum's allocations depend on the seed, the arms, the block sizes and its own levels alone.

    Raises
    ------
    AnalysisError
        If there are fewer than two arms, a ratio is not a whole number above 0, a block size is no multiple of the sum of
        the ratio, or a factor has fewer than two levels.
    """
    parts, levels = checked_arms(arms), checked_factors(factors)
    total = sum(parts.values())
    sizes = tuple(block_sizes) or (2 * total, 3 * total)
    for size in sizes:
        if require_positive("a block size", size) % total:
            raise AnalysisError(
                f"a block size is {size}, which does not fit {total} parts of the allocation: give multiples of {total}"
            )
    wanted = _whole("patients_per_stratum", patients_per_stratum, 1)
    key = _whole("seed", seed, 0)
    rows: list[dict[str, Any]] = []
    for stratum in itertools.product(*levels.values()):
        place = dict(zip(levels, stratum, strict=True))
        words = Words(METHOD, VERSION, key, [place, sorted(parts.items()), sorted(set(sizes))])
        number, block = 0, 0
        while number < wanted:
            block += 1
            size = sorted(set(sizes))[words.below(len(set(sizes)))]
            contents = [arm for arm in sorted(parts) for _ in range(parts[arm] * size // total)]
            for arm in words.shuffled(contents):
                number += 1
                rows.append(place | {"number": number, "block": block, "block_size": size, "arm": arm})
    return RandomisationList(pd.DataFrame(rows), parts, tuple(sorted(set(sizes))), key)


def _whole(name: str, value: float, least: int) -> int:
    number = require_finite(name, value)
    if number != int(number) or number < least:
        raise AnalysisError(f"{name} is {number:g}: give a whole number from {least} on")
    return int(value)


def checked_arms(arms: Mapping[str, int] | Sequence[str]) -> dict[str, int]:
    """Return the arms with their parts of the allocation ratio.

    Raises
    ------
    AnalysisError
        If there are fewer than two, two have one name, or a part is not a whole number above 0.
    """
    parts = dict(arms) if isinstance(arms, Mapping) else dict.fromkeys(arms, 1)
    if len(parts) < 2 or len(parts) != len(arms):
        raise AnalysisError(
            f"the arms are {', '.join(map(str, arms)) or 'none'}: give two or more, each with its own name"
        )
    return {str(arm): _whole(f"the ratio of arm '{arm}'", part, 1) for arm, part in parts.items()}


def checked_factors(factors: Mapping[str, Sequence[str]] | None) -> dict[str, list[str]]:
    """Return factors and levels in alphabetical order.

    Raises
    ------
    AnalysisError
        If a factor has fewer than two levels, repeats one, or is called as a column of the list.
    """
    found: dict[str, list[str]] = {}
    for name in sorted(factors or {}):
        levels = [str(level) for level in (factors or {})[name]]
        if len(levels) < 2 or len(set(levels)) < len(levels):
            raise AnalysisError(
                f"the stratification factor '{name}' has the levels {', '.join(levels) or 'none'}: give two or more, each once"
            )
        if name in ("number", "block", "block_size", "arm"):
            raise AnalysisError(f"a stratification factor is called '{name}', as a column of the list: rename it")
        found[str(name)] = sorted(levels)
    return found
