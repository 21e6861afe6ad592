"""The options judged over what is believed of both effects: what each rejects, and whether it is right to.

Integrals over the posterior are Gauss-Legendre sums over panels that end where a benefit passes the least worth claiming, so that
the jumps of right and wrong are met exactly; the adaptive option alone is simulated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialml.design.adaptive_chances import BATCHES, adaptive_batches
from trialml.design.bridge_options import OPTIONS, Chances, Option, PlannedOption, planned_options
from trialml.design.bridge_setting import TrialSetting
from trialml.design.response_evidence import GroupEvidence, ResponseEvidence

__all__ = ["TIE", "Claims", "Judged", "Nodes", "judged_options", "overall_nodes", "posterior_nodes", "useless_claims"]

Vector = NDArray[np.float64]

_REACH = 6.0
"""Standard deviations: beyond lies 2e-9 of a normal distribution."""
_OUTER, _INNER = 8, 7
"""Nodes a panel, of which an axis has four of three standard deviations, and as many more as there are jumps."""


TIE = 0.005
"""Options whose net differs by less are as good as each other: where all are nearly sure to be right, a thousandth decides nothing."""
_NEGLIGIBLE = 1e-12
"""Weights below it, hardly 1e-9 of the distribution together, are left out."""


class Nodes(NamedTuple):
    """Pairs of true benefits with their weights, each of shape (m,); the weights sum to 1."""

    inside: Vector
    outside: Vector
    weight: Vector


class Claims(NamedTuple):
    """What an option does at each node, by batch of draws, each of shape (batches, m); one batch where nothing is simulated.

    Attributes
    ----------
    rejects
        Probability of any rejection.
    right
        Probability of rejecting in a population whose true benefit is at least the minimum.
    wrong
        Probability of rejecting in one whose true benefit is below it.
    left_out
        Probability that patients outside the stratum are left out.
    stopped
        Probability of stopping for futility.
    """

    rejects: Vector
    right: Vector
    wrong: Vector
    left_out: Vector
    stopped: Vector

    @property
    def net(self) -> Vector:
        """Right less wrong, mean over batches, shape (m,)."""
        return np.asarray((self.right - self.wrong).mean(axis=0))


@dataclass(frozen=True)
class Judged:
    """All options at all nodes.

    Attributes
    ----------
    evidence, setting
        What they were planned with.
    options
        By name, feasible or not.
    nodes, claims
        The posterior, and what each feasible option does there.
    minimum
        The least benefit worth claiming.
    """

    evidence: ResponseEvidence
    setting: TrialSetting
    options: dict[Option, PlannedOption]
    nodes: Nodes
    claims: dict[Option, Claims]
    minimum: float

    def expected_net(self) -> dict[Option, float]:
        """Return right less false claims of each feasible option, averaged over the posterior."""
        return {name: float(found.net @ self.nodes.weight) for name, found in self.claims.items()}

    def best_shares(self) -> dict[Option, float]:
        """Return the posterior probability that each feasible option is the best: of those within half a point of the largest net, the one named first."""
        names = list(self.claims)
        nets = np.stack([self.claims[name].net for name in names])
        first = np.argmax(nets >= nets.max(axis=0) - TIE, axis=0)
        return {name: float(self.nodes.weight[first == place].sum()) for place, name in enumerate(names)}


def judged_options(
    evidence: ResponseEvidence,
    setting: TrialSetting,
    *,
    draws: int = 512,
    seed: int = 1,
    options: Sequence[Option] = OPTIONS,
) -> Judged:
    """Plan every option at equal budget and judge it at every node of the posterior.

    Parameters
    ----------
    evidence, setting
        As `planned_options` takes them.
    draws, seed
        Of the adaptive option.
    options
        Those that are judged, all comers always among them: without the adaptive one nothing is simulated.

    Returns
    -------
    Judged

    Raises
    ------
    AnalysisError
        As `planned_options`.
    """
    planned = planned_options(evidence, setting)
    planned = {name: one for name, one in planned.items() if name in ("all comers", *options)}
    inside, outside = evidence.groups
    minimum = setting.minimum_benefit(evidence.endpoint, inside.mixed(outside, evidence.share))
    nodes = posterior_nodes(evidence.benefit_mean, evidence.benefit_covariance, evidence.share, minimum)
    claims = {
        name: claims_of(option, nodes, evidence.share, minimum, draws=draws, seed=seed)
        for name, option in planned.items()
        if option.feasible
    }
    return Judged(evidence, setting, planned, nodes, claims, minimum)


def claims_of(
    option: PlannedOption,
    nodes: Nodes,
    share: float,
    minimum: float,
    *,
    groups: tuple[GroupEvidence, GroupEvidence] | None = None,
    draws: int = 512,
    seed: int = 1,
) -> Claims:
    """Return what an option claims at each node, and whether it is right to.

    Parameters
    ----------
    option, nodes
        The option, and the truths.
    share, minimum
        The stratum's share, and the least benefit worth claiming.
    groups, draws, seed
        As `PlannedOption.chances` takes them.
    """
    if option.stages is not None:
        truth = option.groups if groups is None else groups
        batches = adaptive_batches(option.stages, truth, nodes.inside, nodes.outside, draws=draws, seed=seed)
        chances = Chances(*batches.transpose(1, 0, 2))
    else:
        found = option.chances(nodes.inside, nodes.outside, groups=groups)
        chances = Chances(*(one[None, :] for one in found))
    stratum = nodes.inside >= minimum
    everyone = share * nodes.inside + (1 - share) * nodes.outside >= minimum
    rejects = chances.stratum_only + chances.full_only + chances.both
    right = _claimed(chances, stratum, everyone)
    wrong = _claimed(chances, ~stratum, ~everyone)
    return Claims(rejects, right, wrong, chances.left_out, chances.stopped)


def _claimed(chances: Chances, stratum: NDArray[np.bool_], everyone: NDArray[np.bool_]) -> Vector:
    """Return the probability of rejecting in at least one of the populations that are named."""
    return np.asarray(
        chances.stratum_only * stratum + chances.full_only * everyone + chances.both * (stratum | everyone)
    )


def useless_claims(judged: Judged, name: Option, *, draws: int = 512, seed: int = 1) -> tuple[Claims, Nodes]:
    """Return what an option claims as if the model were useless: effect and prognosis of all comers on both sides of the rule.

    Parameters
    ----------
    judged, name
        The options, and the feasible one that is asked for.
    draws, seed
        As `claims_of` takes them.

    Returns
    -------
    Claims, Nodes
        And the truths at which they stand.
    """
    evidence, overall = judged.evidence, judged.evidence.overall
    nodes = overall_nodes(overall.mean, overall.sd, judged.minimum)
    inside, outside = evidence.groups
    everyone = inside.mixed(outside, evidence.share)
    claims = claims_of(
        judged.options[name], nodes, evidence.share, judged.minimum, groups=(everyone, everyone), draws=draws, seed=seed
    )
    return claims, nodes


def posterior_nodes(mean: Vector, covariance: Vector, share: float, minimum: float) -> Nodes:
    """Return nodes and weights of a bivariate normal distribution, with panels that end at the jumps of right and wrong.

    Parameters
    ----------
    mean, covariance
        Of the benefits inside and outside.
    share, minimum
        The jumps: where the benefit inside, outside, or of all comers is `minimum`.

    Returns
    -------
    Nodes
    """
    sd = math.sqrt(covariance[0, 0])
    slope = covariance[0, 1] / covariance[0, 0]
    rest = math.sqrt(covariance[1, 1] - slope * covariance[0, 1])
    u, outer = _panels(np.array([[(minimum - mean[0]) / sd]]), _OUTER)
    inside, outer = mean[0] + sd * u[0], outer[0]
    centre = mean[1] + slope * (inside - mean[0])
    jumps = np.stack([np.full(inside.shape, minimum), (minimum - share * inside) / (1 - share)], axis=1)
    v, inner = _panels((jumps - centre[:, None]) / rest, _INNER)
    weight = outer[:, None] * inner
    outside = centre[:, None] + rest * v
    both = np.broadcast_to(inside[:, None], outside.shape)
    share_of = weight.ravel() / weight.sum()
    kept = share_of > _NEGLIGIBLE
    return Nodes(both.ravel()[kept], outside.ravel()[kept], share_of[kept])


def overall_nodes(mean: float, sd: float, minimum: float) -> Nodes:
    """Return nodes at which the benefit inside and outside is that of all comers."""
    u, weight = _panels(np.array([[(minimum - mean) / sd]]), _OUTER)
    benefit = mean + sd * u[0]
    return Nodes(benefit, benefit, weight[0] / weight.sum())


def _panels(jumps: Vector, nodes: int) -> tuple[Vector, Vector]:
    """Return Gauss-Legendre nodes of standard normal distributions, shape (rows, panels * nodes); jumps has shape (rows, j)."""
    base = np.linspace(-_REACH, _REACH, 5)
    edges = np.sort(np.hstack([np.broadcast_to(base, (len(jumps), 5)), np.clip(jumps, -_REACH, _REACH)]), axis=1)
    unit, weights = np.polynomial.legendre.leggauss(nodes)
    half = np.diff(edges, axis=1)[..., None] / 2
    u = edges[:, :-1, None] + half * (1 + unit)
    density = np.exp(-u * u / 2) / math.sqrt(2 * math.pi) * half * weights
    return u.reshape(len(jumps), -1), density.reshape(len(jumps), -1)


def monte_carlo_error(batches: Vector) -> float:
    """Return the Monte Carlo standard error of a mean over batches; 0 where nothing is simulated."""
    return float(batches.std(ddof=1) / math.sqrt(len(batches))) if len(batches) == BATCHES else 0.0
