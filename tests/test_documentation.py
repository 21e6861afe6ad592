"""The documentation says what the package does: commands, keys, help, links and examples."""

import importlib
import inspect
import io
import json
import re
import tomllib
from contextlib import redirect_stdout
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

import trialml
from trialml.cli import main
from trialml.config import NOT_KEYS, EndpointTable, Study, read_study
from trialml.design_tables import DESIGN_KINDS
from trialml.errors import TrialmlError

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("mlflow/*.md")]
)
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))
WORDS = ("data", "survival", "effects", "models", "validation", "explain", "strata", "design")
COMMANDS = (
    "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/trialml run examples/actg175/study.toml",
    "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/pytest",
)


def name_of(page):
    return str(page.relative_to(ROOT))


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def keys_of(table, prefix=""):
    """Every key below a table of the study file, with its pydantic field."""
    for name, found in table.model_fields.items():
        if table is Study and name in NOT_KEYS:
            continue
        listed = [kind for kind in get_args(found.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        inside = EndpointTable if table is Study and name == "endpoints" else listed[0] if listed else found.annotation
        if isinstance(inside, type) and issubclass(inside, BaseModel):
            yield from keys_of(inside, f"{prefix}{name}.")
        else:
            yield f"{prefix}{found.alias or name}", found


def default_words(found):
    if found.is_required():
        return "required"
    if found.default is None:
        return "not given"
    return f"`{json.dumps(list(found.default) if isinstance(found.default, tuple) else found.default)}`"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_holds_each_command_in_a_block_of_its_own(command):
    assert f"```\n{command}\n```" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_holds_no_third_command_that_makes_an_environment():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("python3 -m venv") == 2


def test_each_word_of_the_list_has_a_page_in_the_guide():
    names = {page.stem for page in GUIDE}
    assert set(WORDS) <= names
    for word in WORDS:
        question = importlib.import_module(f"trialml.{word}").__doc__.strip().splitlines()[0]
        first = (ROOT / "docs" / "guide" / f"{word}.md").read_text(encoding="utf-8").splitlines()[0]
        assert first.lower() == f"# {word}: {question}".lower()


@pytest.mark.parametrize("page", GUIDE, ids=lambda page: page.stem)
def test_the_python_of_a_guide_page_runs(page, monkeypatch):
    """The blocks of a page share one namespace and are run from the repository's folder."""
    monkeypatch.chdir(ROOT)
    code = blocks(page, "python")
    assert code, f"{page.name} has no example"
    names = {"__name__": page.stem}
    with redirect_stdout(io.StringIO()):
        for block in code:
            exec(compile(block, page.name, "exec"), names)


def test_the_study_file_of_the_tutorial_is_accepted(tmp_path):
    (written,) = blocks(ROOT / "docs" / "tutorial" / "your-own-trial.md", "toml")
    path = tmp_path / "study.toml"
    path.write_text(written, encoding="utf-8")
    assert read_study(path).study.name == "EXAMPLE01"


REFUSALS = {
    "horizon = 12": ("horizont = 12", "[endpoints] 'horizont' is not a key; the nearest name is 'horizon'."),
    'numeric = ["age"]': (
        'numeric = ["best_response"]',
        "[covariates] lists 'best_response', which was measured after randomisation ([data] post_baseline): take it out.",
    ),
    'event_values = ["0"]': (
        "",
        "[[endpoints]] needs both event_values and censored_values, or neither: list the missing one.",
    ),
    'unit = "months"': (
        'unit = "fortnights"',
        "[endpoints] unit = 'fortnights' will not do: input should be 'days', 'weeks', 'months' or 'years'.",
    ),
}


@pytest.mark.parametrize("line", REFUSALS)
def test_the_tutorial_quotes_the_sentence_that_the_command_says(line, tmp_path):
    page = ROOT / "docs" / "tutorial" / "your-own-trial.md"
    instead, sentence = REFUSALS[line]
    written = blocks(page, "toml")[0]
    assert line in written
    path = tmp_path / "study.toml"
    path.write_text(written.replace(line, instead), encoding="utf-8")
    with pytest.raises(TrialmlError) as refused:
        read_study(path)
    # Where more is wrong, a count stands before the full stop.
    assert sentence.rstrip(".") in str(refused.value)
    assert sentence.replace("best_response", "age") in page.read_text(encoding="utf-8")


def test_every_key_of_the_study_file_is_documented_with_its_default_and_no_other():
    text = (ROOT / "docs" / "reference" / "study-file.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    cells = [re.split(r"(?<!\\)\|", row) for row in rows]
    documented = {cell[1].strip().strip("`"): cell[3].strip() for cell in cells}
    assert len(documented) == len(rows)
    assert documented == {key: default_words(found) for key, found in keys_of(Study)}


@pytest.mark.parametrize(
    "verb",
    [
        [],
        ["run"],
        ["check"],
        ["init"],
        ["deidentify"],
        ["ui"],
        ["models"],
        ["compare"],
        ["promote"],
        ["history"],
        ["report"],
        ["erase"],
        ["runs"],
        ["runs", "sweep"],
        ["runs", "sync"],
        ["predict"],
        ["serve"],
        ["monitor"],
        ["design"],
        *(["design", kind] for kind in (*DESIGN_KINDS, "bridge", "study")),
    ],
    ids=lambda verb: " ".join(verb) or "trialml",
)
def test_the_help_of_the_command_is_in_the_reference_verbatim(verb, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as ended:
        main([*verb, "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed in blocks(ROOT / "docs" / "reference" / "command.md", "text")


def anchors(page):
    """The ids that a page's headings get: lower case, blanks to hyphens, punctuation dropped."""
    headings = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_pages_resolve(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+://", target):
            continue
        place, _, anchor = target.partition("#")
        aim = (page.parent / place).resolve() if place else page
        assert aim.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(aim), f"{page.name} links to {target}"


def test_every_page_of_the_documentation_is_reached_from_its_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    linked = {(ROOT / "docs" / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)", index)}
    assert set(ROOT.glob("docs/**/*.md")) - {ROOT / "docs" / "index.md"} <= linked


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_holds_no_placeholder(page):
    text = page.read_text(encoding="utf-8")
    # The words are put together here, so that a search of the repository for them finds nothing.
    for word in ("TO" + "DO", "FIX" + "ME", "T" + "BD", "X" * 3, "lorem", "coming soon"):
        assert not re.search(rf"\b{word}\b", text, re.IGNORECASE), f"{page.name} says {word}"


def test_the_change_log_names_the_version():
    latest = re.search(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert latest is not None
    assert latest.group(1) == trialml.__version__


def test_the_example_that_the_readme_describes_is_the_one_in_the_repository():
    study = tomllib.loads((ROOT / "examples" / "actg175" / "study.toml").read_text(encoding="utf-8"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"seed {study['study']['seed']}" in text
    assert f"{study['data']['randomised']:,}" in text


@pytest.mark.parametrize("name", [name for name in trialml.__all__ if not name.startswith("__")])
def test_a_public_name_is_documented(name):
    """A docstring with a first sentence; a function's has numpydoc sections that name every parameter they list."""
    thing = getattr(trialml, name)
    words = inspect.getdoc(thing)
    assert words
    assert words.splitlines()[0].rstrip().endswith((".", "?")) or words.split("\n\n")[0].endswith(".")
    if inspect.isfunction(thing):
        assert re.search(r"^(Parameters|Returns|Raises)\n-+$", words, re.MULTILINE)
        if "Parameters\n---" in words:
            section = words.partition("Parameters\n")[2].partition("\nReturns\n")[0]
            for parameter in inspect.signature(thing).parameters:
                assert re.search(rf"\b{parameter}\b", section), f"{name} does not explain {parameter}"


def test_the_public_names_are_listed_and_an_unknown_one_is_refused():
    assert set(trialml.__all__) <= set(dir(trialml))
    assert "survival_forest" not in dir(trialml)
    with pytest.raises(AttributeError, match="survival_forest"):
        _ = trialml.survival_forest
