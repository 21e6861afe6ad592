"""A model's arrays apart from its JSON: one safetensors file, each array named by its path in the state.

A safetensors file holds numbers and names alone, so that reading it runs no code, as the JSON beside it (decision 6).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialml.errors import ModelInputError

__all__ = ["WEIGHTS_DIGEST", "WEIGHTS_FILE", "Written", "digest_of", "put_back", "taken_out", "unpacked"]

WEIGHTS_FILE = "weights.safetensors"
WEIGHTS_DIGEST = "weights_sha256"
_PLACE = "array"
_KINDS = ("float32", "float64", "int64", "bool")

Arrays = dict[str, NDArray[Any]]


class Written(NamedTuple):
    """A model as it is written: the text of its JSON file, and the content of its weights' file, empty for none."""

    text: str
    weights: bytes


def taken_out(state: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Take the arrays out of a state.

    Parameters
    ----------
    state
        Plain JSON types and, anywhere within, numpy arrays of float32, float64, int64 or bool.

    Returns
    -------
    plain : dict
        The state with ``{"array": path}`` where an array stood, and `WEIGHTS_DIGEST`, the sha256 of the file; without arrays
        the state as it is.
    weights : bytes
        The safetensors file, empty where there are no arrays.

    Raises
    ------
    ModelInputError
        If an array is of another kind, or safetensors is not installed.
    """
    arrays: Arrays = {}
    plain = {key: _plain(value, str(key), arrays) for key, value in state.items()}
    if not arrays:
        return plain, b""
    weights = _packed(arrays)
    return plain | {WEIGHTS_DIGEST: digest_of(weights)}, weights


def put_back(state: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Put the arrays of a weights' file back where `taken_out` took them from.

    Raises
    ------
    KeyError
        If an array is not there.
    """
    return {key: _whole(value, str(key), arrays) for key, value in state.items()}


def digest_of(content: bytes) -> str:
    """Return the sha256 of a file's content."""
    return hashlib.sha256(content).hexdigest()


def unpacked(content: bytes) -> Arrays:
    """Return the arrays of a safetensors file by name.

    Raises
    ------
    ModelInputError
        If safetensors is not installed.
    ValueError
        If the content is no such file.
    """
    safetensors = _safetensors()
    try:
        return dict(safetensors.load(content))
    except Exception as error:  # its own error class is no ValueError
        raise ValueError(f"{WEIGHTS_FILE} cannot be read: {error}") from error


def _plain(value: Any, path: str, arrays: Arrays) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.name not in _KINDS:
            raise ModelInputError(f"The array '{path}' is of {value.dtype}: a model's arrays are {', '.join(_KINDS)}.")
        arrays[path] = np.ascontiguousarray(value).reshape(value.shape)
        return {_PLACE: path}
    if isinstance(value, Mapping):
        return {key: _plain(one, f"{path}/{_part(key)}", arrays) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, f"{path}/{at}", arrays) for at, one in enumerate(value)]
    return value


def _part(key: Any) -> str:
    """Return a key as one part of a path: two paths must never be one name."""
    return str(key).replace("~", "~0").replace("/", "~1")


def _whole(value: Any, path: str, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(value, Mapping):
        # A covariate may be called as the placeholder is: only its own path makes it one.
        if value.keys() == {_PLACE} and value[_PLACE] == path:
            return arrays[path]
        return {key: _whole(one, f"{path}/{_part(key)}", arrays) for key, one in value.items()}
    if isinstance(value, list):
        return [_whole(one, f"{path}/{at}", arrays) for at, one in enumerate(value)]
    return value


def _packed(arrays: Arrays) -> bytes:
    # Sorted, and the header said by the library: the same arrays give the same bytes.
    return bytes(_safetensors().save({name: arrays[name] for name in sorted(arrays)}))


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ModelInputError(
            "The model keeps its weights as safetensors, which is not installed: pip install 'trialml[deep]'."
        ) from error
    return safetensors.numpy
