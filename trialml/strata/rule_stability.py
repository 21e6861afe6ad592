"""Would other such patients have led to the same strata? Everything is learned again in bootstrap samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.disclosure import suppressed, suppressed_table
from trialml.errors import AnalysisError
from trialml.result import COLOURS, Result, format_count, format_number, plain_text
from trialml.strata.conditions import BENEFIT, RISK, Condition
from trialml.strata.strata import Strata
from trialml.validation.optimism import MOST_FAILED, bootstrap_rows
from trialml.validation.parallel import in_order

__all__ = ["TOLERANCE", "Relearned", "RuleStability", "rule_stability"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]

TOLERANCE = 0.1
"""A cut-point is found again where no more than this share of the patients lies between the two."""
OFTEN = 0.1
"""Other covariates are named from this share of the samples on."""
FIRM = 0.8


class Relearned(NamedTuple):
    """What was learned in one bootstrap sample.

    Attributes
    ----------
    strata
        The sample's own strata.
    member
        The place of every original patient, as the final strata are numbered, shape (n,).
    """

    strata: Strata
    member: Rows


@dataclass(frozen=True, eq=False)
class RuleStability(Result):
    """How often patients keep their stratum, and how often each question of the rule is asked again."""

    title = "Stability of the strata over bootstrap samples"
    figure_size = (6.4, 3.2)
    methods = (
        "Patients were drawn with replacement and everything that the strata rest on was learned again. A patient keeps the stratum where "
        "the strata of the sample, read in the order of the final ones, put the patient into the same. A question is found again where a "
        f"sample's rules ask about the covariate with a cut-point from which no more than {100 * TOLERANCE:g} % of the patients part it, or about "
        "the same category, anywhere in the rules."
    )

    strata: pd.DataFrame
    """Columns stratum, rule, share (NaN where the stratum is a small cell or would give one back), control_n, experimental_n, control_events, experimental_events (in the patients learned from; NaN where hidden
    as a small cell), kept (mean over samples of the share of its patients who keep it), mc_error, firm (share of its patients who
    keep it in 80 % of the samples or more), by_chance (share of all patients whom the samples put there, on average)."""
    questions: pd.DataFrame
    """Columns question, in_rule, covariate_found, covariate_mc_error, found, found_mc_error (NaN for questions that the rule does not ask)."""
    kept: float
    kept_mc_error: float
    firm: float
    """The share of all patients who keep their stratum in 80 % of the samples or more."""
    bootstraps: int
    failed: int
    n: int

    def frame(self) -> pd.DataFrame:
        """Return strata and questions under each other, told apart by `part`."""
        parts = {"stratum": self.strata, "question": self.questions}
        return pd.concat([rows.assign(part=name) for name, rows in parts.items() if len(rows)], ignore_index=True)

    def text(self) -> str:
        """Return how often patients keep the stratum, which question is found again least often, and what else is asked."""
        said = (
            f"Over {format_count(self.bootstraps)} bootstrap samples a patient keeps the stratum in {_percent(self.kept)} of them on average "
            f"(Monte Carlo error {format_number(100 * self.kept_mc_error, 2)} points); {_percent(self.firm)} of the patients keep it in "
            f"{_percent(FIRM)} of the samples or more."
        )
        own = self.questions[self.questions["in_rule"].astype(bool)]
        if len(own):
            least = own.loc[own["found"].idxmin()]
            said += (
                f" Of the rule's questions '{least['question']}' is found again least often: the covariate in "
                f"{_percent(least['covariate_found'])} of the samples, with about this cut-point in {_percent(least['found'])}."
            )
        others = self.questions[~self.questions["in_rule"].astype(bool)]
        if len(others):
            listed = ", ".join(
                f"{row.question} ({_percent(row.covariate_found)})" for row in others.head(3).itertuples()
            )
            said += f" The samples also ask about {listed}."
        if self.failed:
            said += f" {format_count(self.failed)} further samples gave no strata."
        return said

    def scalars(self) -> dict[str, float]:
        """Return the share of samples in which patients keep the stratum, and the least found question's share."""
        own = self.questions[self.questions["in_rule"].astype(bool)]
        numbers = {"strata_bootstrap_kept": self.kept, "strata_bootstrap_kept_mc_error": self.kept_mc_error}
        return numbers if own.empty else numbers | {"strata_bootstrap_least_found": float(own["found"].min())}

    def table(self) -> pd.DataFrame:
        """Return strata and questions for reading."""
        strata = [
            {
                "": row["stratum"],
                "Rule": row["rule"],
                "Patients, control / experimental": _pair(row, "n"),
                "Events, control / experimental": _pair(row, "events"),
                "Kept, or found again": _percent(row["kept"]),
                "By chance": _percent(row["by_chance"]),
            }
            for row in self.strata.to_dict("records")
        ]
        questions = [
            {
                "": "Question of the rule" if row["in_rule"] else "Covariate of other samples",
                "Rule": row["question"],
                "Kept, or found again": f"{_percent(row['found'])} (covariate: {_percent(row['covariate_found'])})"
                if row["in_rule"]
                else _percent(row["covariate_found"]),
            }
            for row in self.questions.to_dict("records")
        ]
        return pd.DataFrame(strata + questions).fillna("")

    def draw(self, figure: Any) -> None:
        """Draw how often the patients of each stratum keep it beside chance, one row a stratum."""
        axes = figure.subplots()
        place = np.arange(len(self.strata))
        axes.barh(place, self.strata["kept"], color=COLOURS["experimental"], height=0.5, label="kept")
        axes.plot(self.strata["by_chance"], place, "|", color="black", markersize=18, label="by chance")
        axes.set_yticks(place, [plain_text(name) for name in self.strata["stratum"]])
        axes.set_xlim(0, 1)
        axes.set_xlabel("Share of bootstrap samples in which a patient keeps the stratum")
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _percent(share: float) -> str:
    return "n/a" if np.isnan(share) else f"{100 * share:.0f} %"


def _pair(row: dict[str, Any], of: str) -> str:
    pair = [row[f"{arm}_{of}"] for arm in ("control", "experimental")]
    return "suppressed" if any(np.isnan(one) for one in pair) else " / ".join(format_count(one) for one in pair)


def rule_stability(
    learn: Callable[[Rows], Relearned],
    final: Strata,
    member: Rows,
    X: pd.DataFrame,
    treated: Flags,
    event: Flags | None = None,
    *,
    bootstraps: int = 200,
    seed: int = 1,
    workers: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> RuleStability:
    """Learn the strata again in bootstrap samples, and see who keeps the stratum and which questions are asked again.

    Parameters
    ----------
    learn
        Given rows with copies, learns models, scores, rule and cut-points on them; where it makes folds of its own it passes the rows as
        `groups` to `data.folds.fold_labels`, so that the copies of a patient stay together.
    final, member
        The strata of all patients, and the place of each patient in them, shape (n,).
    X
        Covariates, shape (n, p): cut-points are compared in their distribution.
    treated, event
        Arm, and whether the event was seen, each of shape (n,); no event where the endpoint has none.
    bootstraps, seed
        Samples, at least 20, and the seed from which each has its own.
    workers, advance
        Processes; called after each sample.

    Returns
    -------
    RuleStability
        Monte Carlo errors are those of means and shares over the samples.

    Raises
    ------
    AnalysisError
        If more than a tenth of the samples give no strata.
    """

    def one(rows: Rows) -> Relearned | None:
        try:
            return learn(rows)
        except AnalysisError:
            return None

    drawn = bootstrap_rows(len(member), bootstraps, seed)
    kept = [answer for answer in in_order(one, drawn, workers=workers, advance=advance) if answer is not None]
    failed = bootstraps - len(kept)
    if failed > MOST_FAILED * bootstraps:
        raise AnalysisError(
            f"the strata could not be learned in {failed} of {bootstraps} bootstrap samples: ask for fewer or larger strata."
        )
    members = np.stack([answer.member for answer in kept])
    same = members == member
    by_sample = same.mean(axis=1)
    return RuleStability(
        _by_stratum(final, member, members, treated, event),
        _by_question(final, [answer.strata for answer in kept], X),
        float(by_sample.mean()), _error(by_sample), float((same.mean(axis=0) >= FIRM).mean()), len(kept), failed, len(member),
    )  # fmt: skip


def _error(values: Floats) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _by_stratum(
    final: Strata, member: Rows, members: NDArray[np.intp], treated: Flags, event: Flags | None
) -> pd.DataFrame:
    """Return one row a stratum: its sizes without small cells, and how often it is kept."""
    same = members == member
    rows = []
    for place, stratum in enumerate(final.strata):
        own = member == place
        counts = {
            f"{name}_n": float((own & arm).sum()) for name, arm in (("control", ~treated), ("experimental", treated))
        }
        if event is not None:
            counts |= {
                f"{name}_events": float((own & arm & event).sum())
                for name, arm in (("control", ~treated), ("experimental", treated))
            }
        shares = same[:, own].mean(axis=1) if own.any() else np.full(len(members), np.nan)
        firm = float((same[:, own].mean(axis=0) >= FIRM).mean()) if own.any() else np.nan
        kept = {"kept": float(shares.mean()), "mc_error": _error(shares), "firm": firm}
        chance = float((members == place).mean())
        rows.append(
            {
                "stratum": stratum.name,
                "rule": stratum.rule,
                "share": float(own.mean()),
                **counts,
                **kept,
                "by_chance": chance,
            }
        )
    frame = pd.DataFrame(rows)
    small = np.asarray(suppressed([int((member == place).sum()) for place in range(len(rows))]), dtype=np.bool_)
    frame["share"] = frame["share"].mask(small)
    for name in ("n", "events"):
        columns = [f"control_{name}", f"experimental_{name}"]
        if event is None and name == "events":
            frame[columns] = np.nan
            continue
        hidden = suppressed_table(frame[columns].to_numpy().round().astype(np.int64)) | small[:, None]
        frame[columns] = frame[columns].mask(hidden)
    return frame


def _by_question(final: Strata, found: Sequence[Strata], X: pd.DataFrame) -> pd.DataFrame:
    """Return how often each question of the final rule, and which other covariates, are asked in the samples."""
    asked = [_questions(one) for one in found]
    columns = [{condition.column for condition in one} for one in asked]
    rows: list[dict[str, Any]] = []
    own = _questions(final)
    for condition in own:
        again = np.array([any(_alike(condition, other, X) for other in one) for one in asked])
        there = np.array([condition.column in one for one in columns])
        rows.append(
            {"question": condition.words(), "in_rule": True}
            | _shares("covariate_found", there)
            | _shares("found", again)
        )
    labels = {condition.column: condition.label for one in asked for condition in one}
    new = {
        column: np.array([column in one for one in columns])
        for column in labels
        if column not in {c.column for c in own}
    }
    for column, there in sorted(new.items(), key=lambda item: (-item[1].mean(), item[0])):
        if there.mean() >= OFTEN:
            none = {"found": np.nan, "found_mc_error": np.nan}
            rows.append({"question": labels[column], "in_rule": False} | _shares("covariate_found", there) | none)
    names = ["question", "in_rule", "covariate_found", "covariate_found_mc_error", "found", "found_mc_error"]
    return pd.DataFrame(rows, columns=names)


def _shares(name: str, there: Flags) -> dict[str, float]:
    share = float(there.mean())
    return {name: share, f"{name}_mc_error": float(np.sqrt(share * (1 - share) / len(there)))}


def _questions(strata: Strata) -> list[Condition]:
    """Return each question about a covariate once, by its lower side; scores are no questions, as their cut-points move with the model."""
    found: dict[tuple[Any, ...], Condition] = {}
    for condition in (one for rule in strata.rules for one in rule.conditions):
        if condition.column not in (BENEFIT, RISK):
            lower = condition if condition.side in ("below", "is not") else condition.opposite()
            found.setdefault((lower.column, lower.value), lower)
    return list(found.values())


def _alike(own: Condition, other: Condition, X: pd.DataFrame) -> bool:
    """Return whether two questions about a covariate are nearly the same."""
    if own.column != other.column or isinstance(own.value, tuple) or isinstance(other.value, tuple):
        return own.column == other.column and own.value == other.value
    values = X[own.column].dropna().to_numpy(dtype=np.float64)
    low, high = sorted((own.value, other.value))
    return bool(((values >= low) & (values < high)).mean() <= TOLERANCE)
