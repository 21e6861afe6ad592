"""A design and the model version that it rests on point to each other."""

from __future__ import annotations

import re
from typing import Any

from trialml.tracking.store import TrackedLink
from trialml.tracking.versions import RegisteredVersion

__all__ = ["DESIGN_RUN", "link_design", "version_page"]

DESIGN_RUN = "trialml.design_run"
"""Tag of a version and of its run: the latest design that rests on it."""

_LINE = "Next trial designed from this version: "


def version_page(version: RegisteredVersion) -> str:
    """Return a Markdown link to a version's page, as MLflow's own pages follow it."""
    return f"[{version.name} version {version.version}](#/models/{version.name}/versions/{version.version})"


def link_design(store: Any, version: RegisteredVersion, design: TrackedLink) -> None:
    """Tie a design's run to the version that it rests on, on both pages.

    The design's run has the model among its inputs; the version and its run get a tag with the design's run, and the version's
    description a line that leads there. What a reviewer reads first, line 1, stays.

    Parameters
    ----------
    store
        An open store.
    version
        The version.
    design
        The design's run.
    """
    from mlflow.entities import LoggedModelInput

    client = store.client
    if version.model_id:
        client.log_inputs(design.run_id, models=[LoggedModelInput(version.model_id)])
    client.set_model_version_tag(version.name, version.version, DESIGN_RUN, design.run_id)
    client.set_tag(version.run_id, DESIGN_RUN, design.run_id)
    kept = re.sub(rf"\n*{re.escape(_LINE)}.*", "", version.description)
    page = f"#/experiments/{design.experiment_id}/runs/{design.run_id}"
    client.update_model_version(version.name, version.version, f"{kept}\n\n{_LINE}[{design.run_id}]({page})")
