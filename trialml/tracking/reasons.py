"""Why a store failed, in words that a reader can act on, and without the login that an address may carry."""

from __future__ import annotations

import re

__all__ = ["reason", "without_login"]


def without_login(words: str) -> str:
    """Return words without the name and password that an address may carry."""
    return re.sub(r"//[^/@\s]*@", "//", words)


def reason(error: BaseException) -> str:
    """Return in a few words why the store failed: the cause that a reader can do something about, where one is known."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    for cause in causes:
        if isinstance(cause, ModuleNotFoundError):
            return f"it needs the Python package {cause.name}, which is not installed"
        if type(cause).__module__.startswith("requests") and "Timeout" in type(cause).__name__:
            return "the server does not answer in time"
    said = " ".join(str(error).split())
    said = re.sub(r" ?(\[SQL:|\(Background on this error).*", "", said)
    refused = re.search(r"too many (5\d\d) error responses", said)
    if refused:
        return f"the server answers with the error {refused[1]}"
    if re.search(r"read timed out|connect timeout", said, flags=re.IGNORECASE):
        return "the server does not answer in time"
    if re.search(r"connection refused|failed to establish|name resolution|failed to resolve", said, re.IGNORECASE):
        return "no server answers there"
    if re.search(r"\b401\b", said):
        return "the server asks for a login: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if re.search(r"\b403\b", said):
        return "the server's login has no permission for this"
    said = without_login(said)
    return (said if len(said) <= 200 else f"{said[:197]}...").rstrip(".") or type(error).__name__
