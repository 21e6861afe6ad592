import base64
import dataclasses
import hashlib
import itertools
import logging
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from trialml.errors import OutputError
from trialml.report.document import Summary, assemble
from trialml.report.html import render, write
from trialml.result import COLOURS, Result

VOID = {"meta", "img", "link", "br", "hr", "input"}


class Reader(HTMLParser):
    """Reads a page strictly: every tag that opens closes, in order."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.words, self.headings = [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        assert len(attrs) == len(dict(attrs)), f"an attribute stands twice in {tag}"
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), len(self.words)))
        if tag in {"dd", "dt", "td", "th"}:
            self.words.append(" ")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"{tag} closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in {"style", "title"}:
            self.words.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(document):
    return render(document)


@pytest.fixture(scope="module")
def read(page):
    return Reader(page)


def test_the_page_holds_no_script_and_no_handler_and_forbids_both(page, read):
    assert not read.all("script")
    assert not [name for _, attributes in read.tags for name in attributes if name.startswith("on")]
    policy = next(meta["content"] for meta in read.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")


def test_nothing_is_loaded_from_anywhere(page, read):
    assert not [tag for tag, _ in read.tags if tag in {"link", "iframe", "object", "embed", "base", "form", "video"}]
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in read.all("img"))
    assert not re.search(r"url\(|@import|srcset=", page)
    links = [link["href"] for link in read.all("a")]
    assert all(link.startswith(("#", "https://doi.org/10.")) for link in links)


def test_pictures_load_nothing_and_hold_no_script(read):
    for image in read.all("img"):
        svg = base64.b64decode(image["src"].split(",", 1)[1]).decode()
        assert "<script>" not in re.sub("<!--.*?-->", "", svg, flags=re.DOTALL)
        assert not re.findall(r"""href="(?!#)[^"]*""", svg)


def test_every_link_inside_the_page_leads_somewhere_and_no_id_stands_twice(read):
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {link["href"][1:] for link in read.all("a") if link["href"].startswith("#")}
    labels = {part for _, found in read.tags for part in found.get("aria-labelledby", "").split()}
    assert targets | labels <= set(ids)


def test_headings_start_at_one_and_skip_no_level(read):
    levels = [level for level, _ in read.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_landmarks_and_language_are_there_for_a_screen_reader(read):
    assert read.all("html") == [{"lang": "en"}]
    assert len(read.all("main")) == 1
    assert read.all("nav")[0]["aria-label"] == "Contents"
    assert read.all("a")[0] == {"class": "skip", "href": "#content"}
    assert len(read.all("caption")) == len(read.all("table"))
    assert all(head.get("scope") in {"col", "row", "rowgroup"} for head in read.all("th"))


def test_every_picture_says_in_words_what_it_shows(read):
    alts = [image["alt"] for image in read.all("img")]
    assert alts == [
        "Time to the first event. The median was NR (95% CI 901 to NR).",
        "Calibration. The calibration slope was 0.684.",
    ]


def test_figures_and_tables_are_numbered_in_reading_order(read):
    assert re.findall(r"(?:Figure \d+\.) [A-Z]\w+", read.text) == ["Figure 1. Time", "Figure 2. Calibration"]
    captions = [int(number) for number in re.findall(r"Table (\d+)\.", read.text)]
    # Each number stands in the caption that is seen and in the one that is heard.
    assert captions == [number for number in range(1, 6) for _ in range(2)]


def test_a_result_without_figure_and_table_still_says_its_text(read):
    assert "Sample size The next trial needs 412 patients (one-sided alpha 0.025)." in read.text


def test_the_verdict_comes_first_then_the_contents_then_the_chapters_and_reproduction_last(read):
    order = ["Go: the benefit is clear.", "Contents", "The five attributes", "Who was in the trial", "Methods Pat"]
    order += ["Limitations One trial", "Abbreviations", "What is needed to get the same numbers again"]
    places = [read.text.rindex(words) for words in order]
    assert places == sorted(places)


def test_each_chapter_shows_its_question_and_its_lead(read):
    assert "2 Survival What happened over time? The curves separate." in read.text


def test_markup_in_titles_texts_and_cells_is_inert(page, read):
    assert "alert(1)" in read.text
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_dollar_signs_chinese_and_right_to_left_words_are_printed_as_they_are(read):
    assert "Costs $x_1$" in read.text
    assert "\u65e2\u5f80\u6cbb\u7597" in read.text
    assert "\u0639\u0644\u0627\u062c" in read.text


def test_methods_cite_each_reference_once_in_order_of_first_citation(read):
    assert "Kaplan-Meier estimates. [1, 2]" in read.text
    assert "Performance is cross-fitted. [1] Predictions are compared with what was observed. [2]" in read.text
    assert [item["id"] for item in read.all("li") if "id" in item] == ["reference-1", "reference-2"]
    assert "https://doi.org/10.1111/j.2517-6161.1972.tb00899.x" in [link["href"] for link in read.all("a")]


def test_the_same_methods_sentence_is_said_once(documents):
    base = documents()
    twice = documents(results=[*base.results, *base.results])
    assert Reader(render(twice)).text.count("Performance is cross-fitted.") == 1


def test_abbreviations_that_occur_are_explained_and_others_are_not(read):
    glossary = read.text[read.text.rindex("Abbreviations") :]
    assert "CI confidence interval" in glossary
    assert "NR not reached" in glossary
    assert "\N{EN DASH} no value" in glossary
    assert "RMST" not in glossary


def test_the_kind_of_each_performance_number_is_shown_and_explained(read):
    assert "C-index 0.741 0.710 apparent <0.001 1,054" in read.text
    assert "Kind of number: cross-fitted." in read.text
    assert "optimism-corrected the apparent number less the optimism" in read.text


def test_defaults_versions_seed_hash_and_commands_are_all_shown(read):
    for words in ("models.risk.folds 5", "design.information_fractions [0.5, 1.0]", "trialml 0.1.0", "Seed 175"):
        assert words in read.text
    assert "SHA-256 of the data 9f86d081884c7d65 Seed" in read.text
    assert "Commands trialml run study.toml" in read.text


def test_the_same_document_gives_the_same_bytes(documents, page):
    assert render(documents()) == page


def test_a_readers_matplotlibrc_does_not_change_the_report(page, documents):
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 22, "lines.linewidth": 9, "svg.fonttype": "none"}):
        assert render(documents()) == page
        assert mpl.rcParams["font.size"] == 22


def test_importing_the_report_loads_no_matplotlib():
    code = "import sys, trialml.report.html; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_text_contrast_is_at_least_that_of_wcag_aa(page):
    def luminance(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    style = page[page.index("<style>") : page.index("</style>")]
    names = {**dict(re.findall(r"--([\w-]+): (#\w+);", style)), "experimental": COLOURS["experimental"]}
    used = set(re.findall(r"[{;]\s*color:\s*([^;}]+)", style)) - {"inherit"}
    assert len(used) >= 4
    for colour in used:
        value = names[colour[6:-1]] if colour.startswith("var") else colour
        assert 1.05 / (luminance(value) + 0.05) >= 4.5, colour


def test_a_document_with_nothing_in_it_is_still_a_whole_page():
    bare = assemble([], title="T", study="S", summary=Summary(question="Why?"))
    read = Reader(render(bare))
    assert "The study file states no estimand." in read.text
    assert "no default was used" in read.text


class Broken(Result):
    title = "Broken"

    def frame(self):
        import pandas as pd

        return pd.DataFrame({"a": [1.0]})

    def text(self):
        return "The number is 1."

    def scalars(self):
        return {}

    def draw(self, figure):
        raise ValueError(f"two lengths <differ> {figure.get_figwidth():.0f}")


def test_a_figure_that_cannot_be_drawn_is_named_and_the_report_stands(documents, caplog):
    with caplog.at_level(logging.WARNING, logger="trialml.report"):
        read = Reader(render(documents(results=[Broken()])))
    assert "could not be drawn (ValueError: two lengths <differ> 7)" in read.text
    assert "'Broken'" in caplog.text


def test_write_returns_the_sha256_of_the_file_and_leaves_nothing_beside_it(document, tmp_path):
    path = tmp_path / "new" / "index.html"
    path.parent.mkdir()
    path.write_text("old")
    digest = write(document, path)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [entry.name for entry in path.parent.iterdir()] == ["index.html"]


def test_no_line_ends_inside_an_interval_or_before_a_percent_sign(document):
    shown = render(dataclasses.replace(document, title="From 0.386 to 0.627 in 27 % of 3 to be counted"))
    assert "From 0.386\u00a0to\u00a00.627 in 27\u00a0% of 3 to be counted" in shown


def test_a_file_that_cannot_be_written_is_refused_in_one_sentence(document, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be written to .*index.html \(.+\): name a file in a folder"):
        write(document, tmp_path / "file" / "index.html")


def test_a_folder_in_the_place_of_the_report_is_refused_and_nothing_is_left_behind(document, tmp_path):
    (tmp_path / "index.html").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        write(document, tmp_path / "index.html")
    assert [entry.name for entry in tmp_path.iterdir()] == ["index.html"]
