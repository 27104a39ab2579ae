import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from fedsieve.reports.theme import DARK, LIGHT, MARKERS, SERIES, SHADES, STYLES, VARIABLES, measure_contrast, pick_ink


def test_contrast_is_that_of_wcag():
    assert measure_contrast(to_rgb("#000000"), to_rgb("#ffffff")) == pytest.approx(21)
    assert measure_contrast(to_rgb("#777777"), to_rgb("#ffffff")) == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_lines_stand_out_from_the_paper(colours: dict[str, str]):
    paper = to_rgb(colours["paper"])
    for name in ("text", "muted", *(name for name in colours if name.startswith("series"))):
        assert measure_contrast(to_rgb(colours[name]), paper) >= 4.5, name


def test_every_colour_has_one_name_and_a_dark_counterpart():
    assert list(LIGHT) == list(DARK)
    assert len(set(LIGHT.values())) == len(LIGHT)
    assert set(VARIABLES) == set(LIGHT.values()) - {LIGHT["paper"]}


def test_lines_differ_without_colour_and_shades_in_grey():
    assert len(set(SERIES)) == len(set(STYLES)) == len(set(MARKERS)) == 6
    shades = colormaps[SHADES](np.linspace(0, 1, 64))
    luminance = [measure_contrast(tuple(shade[:3]), (0, 0, 0)) for shade in shades]
    assert all(np.diff(luminance) > 0)
    assert luminance[-1] / luminance[0] > 8


def test_numbers_stand_out_from_every_shade():
    for shade in colormaps[SHADES](np.linspace(0, 1, 256)):
        assert measure_contrast(to_rgb(pick_ink(tuple(shade))), tuple(shade[:3])) >= 4.5
