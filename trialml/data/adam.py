"""An ADaM folder: which data sets it holds, and the one row a subject that ADSL gives."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from trialml.data.columns import as_codes, require_columns
from trialml.data.dates import PartialDates, as_dates
from trialml.data.findings import Finding
from trialml.data.quoting import listed, quoted
from trialml.data.read import read_file
from trialml.data.table import Table
from trialml.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trialml.data.roles import Covariate, Treatment

__all__ = ["AdamFolder", "Subjects", "open_adam", "read_subjects"]

_COUNTED = "ADAE"
_SUFFIXES = (".xpt", ".parquet", ".csv", ".sas7bdat")
_UNASSIGNED = frozenset(
    {"SCREEN FAILURE", "NOT ASSIGNED", "SCRNFAIL", "NOTASSGN", "NOT RANDOMIZED", "NOT RANDOMISED", "UNASSIGNED"}
)
_AFTER_BASELINE = frozenset(
    [
        "TRTEDT",
        "TRTETM",
        "TRTEDTM",
        "TRTDUR",
        "TRTDURD",
        "TRTDURM",
        "AVGDD",
        "CUMDOSE",
        "DOSECUM",
        "EOSDT",
        "EOSSTT",
        "EOTSTT",
        "DCSREAS",
        "DCTREAS",
        "DCDECOD",
        "DCREASCD",
        "DISCONFL",
        "DSRAEFL",
        "DTHFL",
        "DTHDT",
        "DTHDTC",
        "DTHCAUS",
        "LSTALVDT",
        "RFENDT",
        "RFENDTC",
        "VISNUMEN",
        "COMPLFL",
        "COMP8FL",
        "COMP16FL",
        "COMP24FL",
        "PPROTFL",
        "SAFFL",
        "EFFFL",
        "TRT01A",
        "TRT01AN",
        "AEWITHFL",
    ]
)
"""Variables of ADSL that are known only after randomisation: never baseline covariates."""


@dataclass
class AdamFolder:
    """The data sets of an ADaM folder, each read when it is asked for.

    Attributes
    ----------
    origin
        The folder as the study file names it.
    files
        The file of each data set, by its name in capitals.
    encoding, decimal
        Of its text files, where they are declared.
    tables
        What was read so far.
    """

    origin: str
    files: dict[str, Path]
    encoding: str | None = None
    decimal: str | None = None
    tables: dict[str, Table] = field(default_factory=dict)

    def __contains__(self, dataset: object) -> bool:
        return dataset in self.files

    def read(self, dataset: str) -> Table:
        """Return a data set.

        Raises
        ------
        DataError
            If the folder lacks it, or its file holds a data set of another name.
        """
        if dataset not in self.files:
            known = ", ".join(sorted(self.files))
            raise DataError(
                f"The ADaM folder '{self.origin}' has no data set {dataset}; it holds {known}: name one of them."
            )
        if dataset not in self.tables:
            path = self.files[dataset]
            table = read_file(path, path.name, encoding=self.encoding, decimal=self.decimal)
            if table.member and table.member.upper() != dataset:
                raise DataError(
                    f"'{path.name}' is mislabelled: by its own heading it holds the data set {table.member}; rename one of the two."
                )
            self.tables[dataset] = table
        return self.tables[dataset]

    def sha256(self) -> str:
        """Return one digest for all data sets read so far, and for that of the adverse events, which are counted later."""
        digests = {name: table.sha256 for name, table in self.tables.items()}
        if _COUNTED in self.files and _COUNTED not in digests:
            with self.files[_COUNTED].open("rb") as stream:
                digests[_COUNTED] = hashlib.file_digest(stream, "sha256").hexdigest()
        lines = [f"{name} {digest}\n" for name, digest in sorted(digests.items())]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def statements(self) -> tuple[str, ...]:
        """Return how the data sets were read; what is the same for all is said once."""
        used = sorted(self.tables)
        said = [
            f"The ADaM folder holds {', '.join(sorted(self.files))}; arm, baseline and endpoint were read from {', '.join(used)}."
        ]
        if _COUNTED in self.files and _COUNTED not in used:
            said.append(f"Adverse events are counted from {_COUNTED}.")
        for statement in dict.fromkeys(words for name in used for words in self.tables[name].statements):
            who = [name for name in used if statement in self.tables[name].statements]
            said.append(statement if len(who) == len(used) else f"{', '.join(who)}: {statement}")
        return tuple(said)

    def findings(self, dataset: str, columns: set[str]) -> tuple[Finding, ...]:
        """Return what reading noticed in some columns of a data set, named ``dataset.column``."""
        return tuple(
            replace(one, subject=dataset if one.subject == "the file" else f"{dataset}.{one.subject}")
            for one in self.read(dataset).findings_about(columns)
        )


def open_adam(path: Path, origin: str, *, encoding: str | None = None, decimal: str | None = None) -> AdamFolder:
    """List the data sets of an ADaM folder (xpt, Parquet, CSV or SAS7BDAT files, one data set each).

    Parameters
    ----------
    path, origin
        The folder, and how the study file names it.
    encoding, decimal
        Encoding and decimal mark of its text files, where they are declared and not to be found out.

    Raises
    ------
    DataError
        If ADSL is not there, or a data set is there twice.
    """
    files: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if file.suffix.lower() not in _SUFFIXES:
            continue
        name = file.stem.upper()
        if name in files:
            message = (
                f"The ADaM folder '{origin}' holds {name} twice ('{files[name].name}' and '{file.name}'): keep one."
            )
            raise DataError(message)
        files[name] = file
    if "ADSL" not in files:
        found = f"it holds {', '.join(sorted(files))}" if files else "it holds no xpt, Parquet, CSV or SAS7BDAT file"
        message = f"The folder '{origin}' has no ADSL (subject-level data set), and {found}: an ADaM folder needs adsl; if the data are one table, name the file."
        raise DataError(message)
    return AdamFolder(origin, files, encoding, decimal)


@dataclass(frozen=True)
class Subjects:
    """ADSL as the base of everything: one row a subject.

    Attributes
    ----------
    frame
        ADSL with the arm cleaned; index the record of ADSL.
    key
        The subject of each row, same index.
    dates
        Dates of ADSL that the analysis needs (RANDDT, TRTSDT, TRTEDT, EOSDT, DTHDT), where it has them.
    findings
        What was noticed.
    """

    frame: pd.DataFrame
    key: pd.Series
    dates: dict[str, pd.Series]
    findings: tuple[Finding, ...]

    def spread(self, values: pd.Series) -> pd.Series:
        """Return values that are indexed by subject, one for each row of ADSL."""
        return pd.Series(values.reindex(self.key.to_numpy()).to_numpy(), index=self.frame.index)

    def refuse_strangers(self, codes: pd.Series, dataset: str) -> None:
        """Refuse records of which none belongs to a subject of ADSL.

        Raises
        ------
        DataError
            With the number of subjects on both sides.
        """
        known = codes.dropna()
        if len(known) and not known.isin(self.key).any():
            message = (
                f"None of the {known.nunique():,} subject(s) of {dataset} is among the {len(self.key):,} of ADSL: the two are of different "
                "studies, or write their subjects differently; give both the same identifiers."
            )
            raise DataError(message)

    def date(self, *names: str) -> pd.Series:
        """Return the first of these dates that ADSL has, NaT throughout where it has none."""
        for name in names:
            if name in self.dates:
                return self.dates[name]
        return pd.Series(pd.NaT, index=self.frame.index, dtype="datetime64[ns]")


def read_subjects(
    folder: AdamFolder,
    subject: str,
    treatment: Treatment,
    covariates: Sequence[Covariate] = (),
    *,
    partial_dates: PartialDates = "refuse",
) -> Subjects:
    """Read ADSL and check what the rest leans on.

    Raises
    ------
    DataError
        If ADSL lacks a column, holds a subject twice or several studies, if TRT01P and TRT01PN contradict each other, or
        a covariate is a variable that is known only after randomisation.
    """
    table = folder.read("ADSL")
    require_columns(table.frame, {"[data] subject": subject, "[treatment] column": treatment.column}, "ADSL")
    for covariate in covariates:
        if covariate.name in _AFTER_BASELINE:
            message = f"[covariates] lists '{covariate.name}', which ADaM defines by what happened after randomisation: take it out."
            raise DataError(message)
    frame = table.frame.copy()
    _one_study(frame)
    frame[treatment.column] = _arms(frame, treatment.column)
    findings = [*_stratification(frame, treatment.stratification)]
    dates = {}
    for name in ("RANDDT", "TRTSDT", "TRTEDT", "EOSDT", "RFENDT", "DTHDT"):
        if name in frame:
            dates[name], noticed = as_dates(frame[name], name=f"ADSL.{name}", rule=partial_dates)
            findings += [*folder.findings("ADSL", {name}), *noticed]
    return Subjects(frame, _subjects(frame[subject], subject), dates, tuple(findings))


def _subjects(column: pd.Series, name: str) -> pd.Series:
    codes = as_codes(column)
    missing = codes.index[codes.isna()]
    if len(missing):
        raise DataError(f"ADSL has no '{name}' in file row {missing[0]}: give every row a subject.")
    twice = codes[codes.duplicated(keep=False)]
    if len(twice):
        rows = twice.index[twice == twice.iloc[0]][:2]
        message = (
            f"ADSL holds {twice.nunique()} subject(s) on more than one row (file rows {rows[0]} and {rows[1]} are the same subject): "
            "keep one row a subject."
        )
        raise DataError(message)
    return codes


def _one_study(frame: pd.DataFrame) -> None:
    studies = set(frame["STUDYID"].dropna()) if "STUDYID" in frame else set()
    if len(studies) > 1:
        message = f"ADSL holds {len(studies)} studies (STUDYID): analyse one randomised trial at a time."
        raise DataError(message)


def _arms(frame: pd.DataFrame, column: str) -> pd.Series:
    """Return the arm's codes, None for screen failures, after a look at its twin of numbers or names."""
    codes = as_codes(frame[column])
    twin = f"{column}N" if f"{column}N" in frame else column.removesuffix("N")
    if twin != column and twin in frame:
        other = as_codes(frame[twin])
        pairs = pd.DataFrame({"one": codes, "two": other}).dropna().drop_duplicates()
        for name, counted in (("one", column), ("two", twin)):
            if pairs[name].duplicated().any():
                value = pairs.loc[pairs[name].duplicated(), name].iloc[0]
                first, second = (codes, other) if name == "one" else (other, codes)
                beside = second[first == value]
                message = (
                    f"ADSL contradicts itself: the value {quoted(value, len(beside))} of {counted} stands with several values of "
                    f"{twin if counted == column else column} ({listed(beside)}); correct one of the two."
                )
                raise DataError(message)
    return codes.where(~codes.astype(str).str.upper().isin(_UNASSIGNED), None)


def _stratification(frame: pd.DataFrame, factors: tuple[str, ...]) -> list[Finding]:
    findings = []
    randomised = [name for name in frame.columns if _is_factor(str(name), "R")]
    unused = [name for name in randomised if name not in factors and f"{name[:-1]}V" not in factors]
    if unused:
        found = f"ADSL holds the stratification factors {', '.join(unused)}, which [treatment] stratification does not list."
        findings.append(Finding("stratification", "ADSL", len(unused), found, "They were not used.", "warning"))
    for name in factors:
        randomly = f"{name[:-1]}R"
        if _is_factor(name, "V") and randomly in frame:
            found = f"'{name}' is the factor as verified; randomisation used '{randomly}'."
            done = "It was used as the study file says; the analysis of a stratified randomisation takes the factor as randomised."
            findings.append(Finding("stratification", name, 1, found, done, "warning"))
        verified = f"{name[:-1]}V"
        if _is_factor(name, "R") and verified in frame:
            ours, other = as_codes(frame[name]), as_codes(frame[verified])
            differ = int((ours.notna() & other.notna() & (ours != other)).sum())
            if differ:
                found = f"{differ:,} subject(s) were randomised in another stratum than '{verified}' shows."
                findings.append(Finding("stratification", name, differ, found, "The stratum as randomised was used."))
    return findings


def _is_factor(name: str, last: str) -> bool:
    return name.startswith("STRAT") and name.endswith(last) and name[5:-1].isdigit()
