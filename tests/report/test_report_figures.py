import re

import pandas as pd

from trialml.report.figures import svg_of
from trialml.result import Result, plain_text


def drawn(words, *, tick=None):
    class Words(Result):
        title = "Words"

        def frame(self):
            return pd.DataFrame({"a": [1.0]})

        def text(self):
            return "Words."

        def scalars(self):
            return {}

        def draw(self, figure):
            axes = figure.subplots()
            axes.set_title(words)
            if tick:
                axes.set_xticks([0, 1], [tick, "b"])

    return svg_of(Words()).decode()


def written(svg):
    """What matplotlib says it wrote: each text drawn as paths stands in a comment before them."""
    return [words.strip() for words in re.findall(r"<!-- (.*?) -->", svg, flags=re.DOTALL)]


def test_mathematics_is_never_set_from_words():
    assert "$x_1$ costs $" in written(drawn("$x_1$ costs $"))


def test_an_escaped_dollar_is_drawn_as_a_dollar_in_titles_and_tick_labels():
    words = written(drawn(plain_text("from $5"), tick=plain_text("$x_1$")))
    assert "from $5" in words
    assert "$x_1$" in words


def test_text_is_drawn_as_paths_so_that_no_font_is_needed():
    svg = drawn("Words")
    assert "<text" not in svg
    assert "font-family" not in svg


def test_no_date_and_no_version_of_a_library_stands_in_a_picture():
    svg = drawn("Words")
    assert "dc:date" not in svg
    assert "Matplotlib v" not in svg


def test_equal_results_give_equal_bytes():
    assert drawn("Words") == drawn("Words")


def test_words_of_any_script_can_be_drawn():
    assert drawn("\u65e2\u5f80 \u0639\u0644\u0627\u062c \u05d1\u05d3\u05d9\u05e7\u05d4 \U0001f600").startswith("<?xml")
