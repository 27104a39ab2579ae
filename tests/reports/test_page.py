import json
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fedsieve.array_files import array_bytes
from fedsieve.reports.comparison import write_comparison
from fedsieve.reports.courses import draw_courses
from fedsieve.reports.figure import Drawn, Missing, Part
from fedsieve.reports.page import draw_sections, render_page, write_report
from fedsieve.reports.settings import group_by_setting
from fedsieve.runs.reading import read_run
from tests.reports.made_up import write_run

NASTY = "<script>alert(1)</script>&\"'$\\frac{$"


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def parts(folder: Path, local: Path | None = None) -> dict[str, Part]:
    sections = draw_sections(read_run(folder), None if local is None else read_run(local))
    return {part.title: part for section in sections for part in section.parts}


def test_a_finished_run_has_every_figure_in_its_page_and_beside_it(runs: Path):
    page = (runs / "pub" / "report.html").read_text()
    names = {path.name for path in (runs / "pub" / "figures").iterdir()}
    assert len(names) == page.count("<svg") == page.count("<figcaption>") == 10
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (runs / "pub" / "figures").iterdir())
    assert "Finished after 3 rounds." in page


def test_ids_are_one_figures_own_and_each_that_is_used_is_there(runs: Path):
    elements = Elements((runs / "pub" / "report.html").read_text()).tags
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    used = {
        value.removeprefix("url(").removesuffix(")").removeprefix("#")
        for _, attributes in elements
        for value in attributes.values()
        if value and value.startswith(("url(#", "#"))
    }
    assert len(ids) == len(set(ids)) > 0
    assert used == set(ids)


def test_what_files_hold_is_text_and_never_markup(tmp_path: Path):
    folder = write_run(
        tmp_path / "run", 3, algorithm=NASTY, dataset=NASTY, versions={NASTY: NASTY}, ended=f"failed: {NASTY}"
    )
    (folder / "config.toml").write_text(f"# {NASTY}\n")
    for path in (write_report(read_run(folder)), tmp_path / "comparison.html"):
        if not path.exists():
            write_comparison(path, group_by_setting([read_run(folder), read_run(runs_like(folder))]))
        page = Elements(path.read_text())
        assert "script" not in {tag for tag, _ in page.tags}
        assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
        assert NASTY in "".join(page.words)


def runs_like(folder: Path) -> Path:
    return write_run(folder.parent / "other", 3, algorithm=f"{NASTY}2")


def test_of_many_clients_some_are_shown_and_how_many_is_said(folder: Path):
    by_title = parts(folder)
    accuracy, clients = by_title["Accuracy by round"], by_title["Accuracy of each client"]
    assert isinstance(accuracy, Drawn)
    assert isinstance(clients, Drawn)
    assert "40 of 300 clients" in accuracy.caption
    assert len(accuracy.lines) == 40
    assert {"client-0", "client-299"} < set(accuracy.lines)
    assert "200 of 300 clients are shown" in clients.caption
    assert "<svg" in render_page(read_run(folder), draw_sections(read_run(folder)))


def test_the_band_holds_the_quartiles_of_all_clients_and_the_line_the_mean(tmp_path: Path):
    accuracy = parts(write_run(tmp_path / "run", clients=7, rounds=1))["Accuracy by round"]
    assert isinstance(accuracy, Drawn)
    assert accuracy.table is not None  # accuracies 1/8 to 7/8: quartiles 2.5/8 and 5.5/8
    assert list(accuracy.table.rows[0])[:4] == ["1", "50.0 %", "31.2 %", "68.8 %"]
    assert [zone.text for zone in accuracy.zones] == [
        "round 1: test accuracy 50.0 % in the mean, middle half 31.2 % to 68.8 %"
    ]


def test_clients_are_set_against_the_local_only_run(tmp_path: Path):
    run = write_run(tmp_path / "own", 3, test_accuracy_per_client={"0": 0.5, "1": 0.7, "2": 0.9, "3": None})
    alone = write_run(tmp_path / "alone", 3, test_accuracy_per_client={"0": 0.6, "1": 0.4, "2": 0.8, "9": 0.1})
    part = parts(run, alone)["Accuracy of each client"]
    assert isinstance(part, Drawn)
    assert "2 of 3 clients do better and 1 worse than in the local-only run" in part.caption
    assert "the mean difference is +10.0 points" in part.caption
    assert [zone.text for zone in part.zones] == [
        "client 0: 50.0 %, local-only 60.0 %",
        "client 1: 70.0 %, local-only 40.0 %",
        "client 2: 90.0 %, local-only 80.0 %",
    ]
    without = parts(run)["Accuracy of each client"]
    assert isinstance(without, Drawn)
    assert "no such run was given" in without.caption


def test_pruned_once_for_all_what_overlaps_is_signs(runs: Path):
    overlap = parts(runs / "images")["Overlap of the clients' masks"]
    assert isinstance(overlap, Drawn)
    assert "whose signs agree" in overlap.caption
    unlike = parts(runs / "pub")["Overlap of the clients' masks"]
    assert isinstance(unlike, Drawn)
    assert "Jaccard index" in unlike.caption


@pytest.mark.parametrize(
    ("run", "title", "reason"),
    [
        ("alone", "Similarity of the clients' models", "local does not compare its clients' models"),
        ("alone", "Overlap of the clients' masks", "local has no masks."),
        ("alone", "Zeros of the masks by round", "local has no masks."),
        ("deployed", "Zeros by layer and client", "a deployment leaves models and masks on the devices"),
        ("empty", "Accuracy by round", "No round was finished"),
        ("empty", "Accuracy of each client", "No round was finished"),
        ("empty", "Bytes by round", "No round was finished"),
        ("empty", "Time by round", "No round was finished"),
        ("one", "Overlap of the clients' masks", "There is only one client's model"),
    ],
)
def test_a_figure_that_there_is_nothing_for_says_why(run: str, title: str, reason: str, runs: Path, tmp_path: Path):
    folder = runs / run
    if run in {"deployed", "one"}:
        folder = tmp_path / run
        shutil.copytree(runs / "pub", folder)
        for path in (folder / "model").iterdir():
            if run == "deployed" or path.name != "client-0.safetensors":
                path.unlink()
    if run == "empty":
        folder = write_run(tmp_path / run, clients=2, rounds=0, test_accuracy=None)
    part = parts(folder)[title]
    assert isinstance(part, Missing)
    assert reason in part.reason
    assert reason in render_page(read_run(folder), draw_sections(read_run(folder))).replace("&#39;", "'")


def test_figures_that_are_no_more_are_removed_and_the_users_files_are_not(tmp_path: Path):
    folder = write_run(tmp_path / "run", 3)
    (folder / "figures").mkdir()
    for name in ("similarity.png", "mine.png"):
        (folder / "figures" / name).write_bytes(b"")
    write_report(read_run(folder))
    names = {path.name for path in (folder / "figures").iterdir()}
    assert names == {"mine.png", "accuracy.png", "loss.png", "clients.png", "bytes.png"}


def test_a_line_is_told_what_it_is_and_is_easier_to_point_at_than_it_is_wide(runs: Path):
    part = parts(runs / "pub")["Accuracy by round"]
    assert isinstance(part, Drawn)
    from fedsieve.reports.svg import render_svg

    root = ET.fromstring(render_svg(part))
    hover = [group for group in root.iter() if group.get("class") == "hover"]
    titles = [group.findtext("{http://www.w3.org/2000/svg}title", "") for group in hover]
    assert len(titles) == 5
    assert all(title.startswith("client ") for title in titles)
    assert all(any(path.get("class") == "reach" for path in group) for group in hover)
    assert root.get("role") == "img"
    assert "Accuracy by round" in root.get("aria-label", "")


@pytest.mark.filterwarnings("error")
def test_where_no_client_keeps_a_weight_there_is_no_overlap(runs: Path, tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(runs / "pub", folder)
    for path in (folder / "model").glob("client-*"):
        path.write_bytes(array_bytes({"a.weight": np.zeros((2, 3), np.float32)}))
    by_title = parts(folder)
    assert by_title["Overlap of the clients' masks"] == Missing(
        "Overlap of the clients' masks", "No weight is kept by any client."
    )
    assert isinstance(by_title["Zeros by layer and client"], Drawn)


@pytest.mark.filterwarnings("error")
def test_names_with_control_characters_are_drawn_without(runs: Path, tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(runs / "pub", folder)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"algorithm": "fed\x01avg"}))
    for path in (folder / "model").glob("client-*"):
        path.write_bytes(array_bytes({"a\x01b": np.ones((2, 3), np.float32)}))
    other = write_run(tmp_path / "other", 3, dataset="co\x02ra")
    assert "fed avg" in write_report(read_run(folder)).read_text()
    write_comparison(tmp_path / "all.html", group_by_setting([read_run(folder), read_run(other)]))
    page = (tmp_path / "all.html").read_text()
    assert "fed avg" in page
    assert "co ra" in page


def test_whose_means_the_lines_are_is_said_where_a_round_takes_some_clients(runs: Path):
    def captions(folder: Path) -> list[str]:
        drawn = [parts(folder)["Accuracy by round"], *draw_courses(group_by_setting([read_run(folder)]))]
        return [part.caption for part in drawn if isinstance(part, Drawn)]

    assert ["heard of so far" in caption for caption in captions(runs / "pub")] == [True] * 4
    assert ["heard of so far" in caption for caption in captions(runs / "images")] == [False] * 4
