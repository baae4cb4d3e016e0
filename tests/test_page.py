import copy
import json
import math
import re
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import plotly.graph_objects
import pytest

import forecasts_made_up
import pages
from coppice.experiments.against import against
from coppice.experiments.page import render, save
from coppice.experiments.page.families import Family, families_of
from coppice.experiments.page.forecasting import cliques
from coppice.experiments.page.provenance import origin, toml
from coppice.experiments.page.style import brief, log_axis, wrapped
from coppice.experiments.report import grouped
from coppice.experiments.report_continual import arms, percents
from coppice.experiments.report_forecasting import cells, ranking
from coppice.experiments.statistics import Ranking, mean
from pages import Record, committed, drawn, figure, trace, unfinished

SIX = 1e-5  # numbers of a page have six digits


@pytest.fixture(scope="module")
def search() -> Record:
    return committed("bdnn-digits/0")[0]


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory, no_stopwatch: None) -> Record:
    return pages.pruned(tmp_path_factory.mktemp("pruned"))


@pytest.fixture(scope="module")
def stream() -> Record:
    return committed("order-pmi-mini/*/0")[0]


# --- one run: every number is the record's --------------------------------------------------------------------


def test_a_search_is_drawn_as_its_record_tells(search: Record) -> None:
    page, path, chosen = render([search], title="t"), search["result"]["path"], search["result"]["chosen"]
    sizes = [sum(step["widths"]) for step in path]
    score = figure(page, "score-figure-0")
    assert trace(score, "validation accuracy")["x"] == sizes
    assert trace(score, "validation accuracy")["y"] == pytest.approx([s["score"] for s in path], rel=SIX)
    assert (trace(score, "chosen")["x"], trace(score, "chosen")["y"]) == (
        [sizes[chosen]],
        [pytest.approx(path[chosen]["score"], rel=SIX)],
    )
    (plateau,) = (shape for shape in score["layout"]["shapes"] if shape["type"] == "rect")
    assert (
        plateau["x0"] < min(search["result"]["plateau"]) <= max(search["result"]["plateau"]) < plateau["x1"]
    )
    widths = figure(page, "sizes-figure-0")["data"]
    assert [layer["y"] for layer in widths] == [
        list(layer) for layer in zip(*(s["widths"] for s in path), strict=True)
    ]
    fitness = figure(page, "fitness-figure-0")
    for name, key in (("F,", "fitness"), ("S,", "stability"), ("E,", "mean_weight"), ("A,", "score")):
        told = [None if s[key] is None else pytest.approx(s[key], rel=SIX) for s in path]
        assert trace(fitness, name)["y"] == told
    greatest = max((s["fitness"], sum(s["widths"])) for s in path if s["fitness"] is not None)
    assert trace(fitness, "greatest F")["x"] == [greatest[1]]
    assert trace(fitness, "greatest F")["y"] == [pytest.approx(greatest[0], rel=SIX)]


def test_the_picture_of_a_search_has_every_cut_and_begins_at_the_chosen_one(search: Record) -> None:
    page, path = render([search], title="t"), search["result"]["path"]
    picture = figure(page, "network-network")
    assert picture["kind"] == "layers"
    assert [group["alive"] for group in picture["groups"]] == [
        [step["widths"][n] for step in path] for n in range(len(path[0]["widths"]))
    ]
    assert [dict(facts)["parameters"] for facts in picture["facts"]] == [f"{s['parameters']:,}" for s in path]
    assert len(picture["steps"]) == len(path)
    slider = re.search(r'<input type="range"[^>]*max="(\d+)" value="(\d+)"', page)
    assert slider is not None
    assert slider.groups() == (str(len(path) - 1), str(search["result"]["chosen"]))


def test_the_published_fitness_has_its_weights_and_peak() -> None:
    record = committed("zhao2017-fig3/*/0")[0]
    page = render([record], title="t")
    assert "F = 0.333 A + 0.333 S + 0.333 E" in page
    peak = trace(figure(page, "fitness-figure-0"), "greatest F")
    path = record["result"]["path"]
    greatest = max(path[1:], key=lambda step: step["fitness"])["index"]
    assert greatest != record["result"]["chosen"]
    record["result"]["chosen"] = greatest
    assert (
        trace(figure(render([record], title="t"), "fitness-figure-0"), "greatest F, and chosen")["y"]
        == peak["y"]
    )
    assert peak["y"] == [pytest.approx(max(s["fitness"] for s in path[1:]), rel=SIX)]


def test_pruned_synapses_are_drawn_as_the_record_tells(pruned: Record) -> None:
    page, curve = render([pruned], title="t"), pruned["result"]["curve"]
    sparsity = figure(page, "sparsity-figure-0")
    for name in curve[0]["layers"]:
        assert trace(sparsity, name)["y"] == pytest.approx([e["layers"][name] for e in curve], rel=SIX)
    assert trace(sparsity, "all of them")["y"] == pytest.approx([e["sparsity"] for e in curve], rel=SIX)
    picture = figure(page, "network-network")
    for group in picture["groups"]:
        alive = [100 * (1 - epoch["layers"][group["name"]]) for epoch in curve]
        assert group["alive"] == pytest.approx(alive, rel=SIX)
        assert group["words"][-1] == f"{100 - alive[-1]:.1f} % dead"
    learning = figure(page, "learning-figure-0")
    assert trace(learning, "validation MAE")["y"] == pytest.approx([-e["score"] for e in curve], rel=SIX)
    naive = figure(page, "naive-figure-0")["data"][0]
    told = {"this network": pruned["result"]["final"], **pruned["result"]["naive"]}
    assert dict(zip(naive["y"], naive["x"], strict=True)) == pytest.approx(
        {k: v["test"] for k, v in told.items()}, rel=SIX
    )


def test_histograms_have_the_counts_and_the_threshold_of_the_record(pruned: Record) -> None:
    page, looks = render([pruned], title="t"), pruned["result"]["histograms"]
    names = list(looks[0]["tensors"])
    for number, name in enumerate(names):
        spec = figure(page, f"histograms-figure-{number}")
        assert len(spec["steps"]) == len(looks)
        for step, look in zip(spec["steps"], looks, strict=True):
            assert [part["y"] for part in step["data"]] == [
                look["tensors"][name][key] for key in ("alive", "died")
            ]
            where = [shape["x0"] for shape in step["shapes"]]
            assert where == ([] if look["threshold"] is None else [pytest.approx(look["threshold"], rel=SIX)])


def test_a_panel_whose_numbers_a_record_lacks_is_not_there(pruned: Record) -> None:
    older = copy.deepcopy(pruned)
    del older["result"]["histograms"]
    assert 'id="run-0-histograms"' in render([pruned], title="t")
    assert 'id="run-0-histograms"' not in render([older], title="t")
    dense = copy.deepcopy(older)
    for epoch in dense["result"]["curve"]:
        del epoch["layers"], epoch["sparsity"]
    assert not any(
        address.endswith(("network", "sparsity-figure-0")) for address in drawn(render([dense], title="t"))
    )


def test_a_stream_is_drawn_as_its_record_tells(stream: Record) -> None:
    page, result = render([stream], title="t"), stream["result"]
    tasks = result["tasks"]
    matrix = figure(page, "matrix-figure-0")["data"][0]
    rows = result["accuracy"]["rows"]
    for told, row in zip(matrix["z"], rows, strict=True):
        assert told[: len(row)] == pytest.approx([100 * value for value in row], rel=SIX)
        assert told[len(row) :] == [None] * (len(rows) - len(row))
    assert matrix["text"][-1][0] == f"{100 * rows[-1][0]:.1f}"
    formula = result["accuracy"]["measures"]["BWT"]["formula"]
    assert formula.replace("<", "&lt;") in page
    epochs = [epoch for task in tasks for epoch in task["curve"]]
    picture = figure(page, "network-network")
    for group in picture["groups"]:
        assert group["alive"] == [epoch["kernels"].get(group["name"]) for epoch in epochs]
        assert group["total"] == tasks[-1]["modules"][group["name"]]["of_kernels"]
    last = tasks[-1]
    into = [link for link in picture["links"] if link["target"] == len(tasks) - 1]
    assert sum(link["mass"][-1] for link in into) == pytest.approx(last["curve"][-1]["link_mass"], rel=1e-3)
    energy = figure(page, "energy-figure-0")
    now = [result["costs"][task["task"]]["energy_compute_pj"] / 1000 for task in tasks]
    assert trace(energy, "at the end")["y"] == pytest.approx(now, rel=SIX)
    then = [task["costs"]["energy_compute_pj"] / 1000 for task in tasks]
    assert trace(energy, "when just learned")["y"] == pytest.approx(then, rel=SIX)


def test_links_have_each_its_own_mass_where_the_record_keeps_it(stream: Record) -> None:
    newer = copy.deepcopy(stream)
    tasks = newer["result"]["tasks"]
    for task in tasks:
        for epoch in task["curve"]:
            epoch["link_masses"] = {}
    first, second = tasks[0]["task"], tasks[1]["task"]
    for n, epoch in enumerate(tasks[1]["curve"]):
        epoch["link_masses"] = {first: 2.0 + n}
    tasks[2]["curve"][0]["link_masses"] = {first: 1.0, second: 5.0}  # only one of them is kept
    picture = figure(render([newer], title="t"), "network-network")
    found = {(link["source"], link["target"]): link["mass"] for link in picture["links"]}
    begin, epochs = len(tasks[0]["curve"]), len(tasks[1]["curve"])
    assert found.keys() == {(0, 1), (0, 2), (1, 2)}
    assert found[0, 1][: begin + epochs] == [0.0] * begin + [2.0 + n for n in range(epochs)]
    assert set(found[0, 1][begin + epochs :]) == {1.0 + epochs}  # it stays when its task is over
    assert found[1, 2][begin + epochs] == 5.0
    assert found[1, 2][-1] == 0.0


# --- many runs and studies ------------------------------------------------------------------------------------


def test_many_runs_have_means_intervals_and_what_each_chose() -> None:
    records = committed("bdnn-digits/*")
    page = render(records, title="t")
    results = figure(page, "family-0-results-figure-0")
    centre = mean([record["result"]["final"]["test"] for record in records])
    assert results["data"][1]["y"] == [pytest.approx(centre.value, rel=SIX)]
    assert results["data"][1]["error_y"]["array"] == [pytest.approx(centre.half, rel=SIX)]
    chosen = trace(figure(page, "family-0-searches-figure-0"), "bdnn-digits, chosen")
    assert chosen["x"] == [record["result"]["neurons"] for record in records]


def test_settings_on_the_same_data_are_compared_in_pairs(pruned: Record) -> None:
    def copied(name: str, seed: int, test: float) -> Record:
        found = copy.deepcopy(pruned) | {"name": name, "seed": seed, "fingerprint": f"{name}{seed}"}
        found["recipe"]["method"] = {"kind": "Dense" if name == "dense" else "SynapticPruning"}
        found["result"]["final"]["test"] = test
        return found

    dense, small = [0.50, 0.60, 0.40], [0.45, 0.60, 0.42]
    records = [copied("small", s, test) for s, test in enumerate(small)]
    records += [copied("dense", s, test) for s, test in enumerate(dense)]
    page = render(records, title="t")
    paired = figure(page, "family-0-paired-figure-0")["data"][0]
    percents = [100 * (a - b) / b for a, b in zip(small, dense, strict=True)]
    assert paired["y"] == ["small"]
    assert paired["x"] == [pytest.approx(mean(percents).value, rel=SIX)]
    assert paired["error_x"]["array"] == [pytest.approx(mean(percents).half, rel=SIX)]
    curves = figure(page, "family-0-curves-figure-0")
    (centre,) = (t for t in curves["data"] if t.get("name") == "small, mean of 3")
    assert centre["y"] == pytest.approx([-epoch["score"] for epoch in pruned["result"]["curve"]], rel=SIX)


def test_only_what_learned_the_same_data_is_one_family(pruned: Record) -> None:
    def families(records: list[Record]) -> list[Family]:
        for number, record in enumerate(records):
            record["fingerprint"] = str(number)
        return families_of(grouped(records))

    def asked(share: float = 0.9, seed: int = 0, **data: Any) -> Record:
        found = copy.deepcopy(pruned) | {"seed": seed}
        found["recipe"]["data"] |= data
        found["recipe"]["method"]["final_sparsity"] = share
        return found

    others = {
        "horizon": 24, "transform": "log", "covariates": ["x"], "validation": 0.31, "test": 0.31, "aggregate": "year", "period": 5
    }  # fmt: skip
    for key, value in others.items():
        assert len(families([asked(), asked(**{key: value})])) == 2, key
    apart = families([asked(share, horizon=horizon) for horizon in (1, 24) for share in (0.5, 0.9)])
    name = pruned["recipe"]["data"]["name"]
    assert [family.title for family in apart] == [f"Runs on {name}, horizon={h}" for h in (1, 24)]
    assert 'id="family-0-paired"' not in render(
        [asked(horizon=h, seed=seed) for h in (1, 24) for seed in (0, 1)], title="t"
    )


def test_streams_of_the_same_tasks_in_any_order_are_one_family() -> None:
    records = copy.deepcopy(committed("order-pmi-mini/*/0"))
    (family,) = families_of(grouped(records))
    assert (len(family.groups), family.title) == (6, "Runs on pmi-mini")
    cifar = copy.deepcopy(committed("td-mcl-cifar-mini/0")) * 3
    natural, less = (copy.deepcopy(cifar[0]) | {"fingerprint": key} for key in ("natural", "less"))
    for record, key, value in ((natural, "order", "natural"), (less, "samples", 60)):
        record["recipe"]["data"][key] = record["data"]["stream"][key] = value
    assert [len(family.groups) for family in families_of(grouped([cifar[0], natural, less]))] == [2, 1]


def test_the_forecasting_study_has_its_ranks_and_differences() -> None:
    records = forecasts_made_up.study(seeds=3, percent={"pruned 0.9": -4.0, "random 0.9": 30.0})
    page = render(records, title="t")
    found = ranking(cells(records))
    ranks = figure(page, "ranks-14-figure-0")["data"][0]
    assert dict(zip(ranks["y"], ranks["x"], strict=True)) == pytest.approx(found.mean_ranks, rel=SIX)
    differences = figure(page, "differences-14-figure-0")["data"][0]
    row = differences["z"][differences["y"].index("random 0.9")]
    assert len(row) == 12
    assert all(20 < value < 40 for value in row)
    assert re.fullmatch(r".*\] %, n = 3", differences["customdata"][0][0])
    assert differences["hovertemplate"].endswith("%{customdata}<extra></extra>")
    curve = figure(page, "error-14-figure-0")
    assert len(curve["data"]) == 3


def test_cliques_are_the_greatest_runs_that_do_not_differ() -> None:
    order = ["a", "b", "c", "d"]
    same = {("a", "b"), ("b", "c"), ("a", "c"), ("c", "d")}
    p = {x: {y: 1.0 if x == y or (x, y) in same or (y, x) in same else 0.01 for y in order} for x in order}
    found = Ranking({name: float(n) for n, name in enumerate(order)}, 6, 1.0, 0.01, 1.0, p)
    assert cliques(found) == [(0, 2), (2, 3)]
    apart = {x: {y: 1.0 if x == y else 0.01 for y in order} for x in order}
    assert cliques(found.__class__(found.mean_ranks, 6, 1.0, 0.01, 1.0, apart)) == []


def test_the_arms_of_a_continual_study_are_drawn_as_differences() -> None:
    records = committed("continual-cifar-mini/*")
    page = render(records, title="t")
    rows = against({name: percents(records, name) for name in arms(records)}, "td-mcl")
    drawn_rows = {
        name: value
        for part in figure(page, "arms-figure-0")["data"]
        for name, value in zip(part["y"], part["x"], strict=True)
    }
    assert drawn_rows.keys() == rows.keys()
    for name, row in rows.items():
        assert drawn_rows[name] == pytest.approx(row.points.mean if row.points else 0.0, rel=SIX)


def test_an_arm_without_pairs_is_named_and_not_drawn_as_if_it_were_the_reference() -> None:
    records = copy.deepcopy(committed("continual-cifar-mini/*"))
    for record in records[1:]:
        del record["result"]["parts"]["ewc"]
    page = render(records, title="t")
    for number in (0, 1):
        shown = [name for part in figure(page, f"arms-figure-{number}")["data"] for name in part["y"]]
        assert sorted(shown) == sorted(set(arms(records)) - {"ewc"})
    assert "Not drawn, with fewer than two seeds in common with td-mcl: ewc." in page


def test_parts_of_a_study_are_drawn_by_size_and_kind() -> None:
    records = committed("alternatives-digits/*")
    spec = figure(render(records, title="t"), "sizes-figure-0")
    grid = trace(spec, "grid 40 epochs")
    assert grid["x"] == sorted(grid["x"])
    assert len(grid["x"]) == 6
    search = mean([record["result"]["parts"]["search"]["test"] for record in records])
    assert trace(spec, "search")["y"] == [pytest.approx(search.value, rel=SIX)]


@pytest.mark.parametrize(
    "folder", ["alternatives-digits/0", "zhao2017-needed-width/*/0", "zhao2017-fig4bc/*/0"]
)
def test_of_a_single_seed_no_interval_and_no_mean_is_told(folder: str) -> None:
    page = render(committed(folder)[:1], title="t")
    words = re.findall(r'<p class="words">(.*?)</p>', page)
    assert any("(n = 1, seed 0)" in text for text in words)
    assert not any("interval" in text or "mean of" in text for text in words)
    told = json.dumps(drawn(page))
    assert not any(text in told for text in ("error_y.array", "mean over"))


@pytest.mark.parametrize(
    "folder", ["zhao2017-needed-width/*/0", "zhao2017-fig4bc/*/0", "order-pmi-mini/*/[01]"]
)
def test_other_studies_have_something_to_see(folder: str) -> None:
    specs = drawn(render(committed(folder), title="t"))
    assert specs
    for spec in specs.values():
        assert spec.get("data") or spec["groups"]


def kinds(pruned: Record) -> list[list[Record]]:
    return [
        committed("bdnn-digits/0"), committed("bdnn-*/*"), [pruned], committed("order-pmi-mini/*/0"),
        committed("continual-cifar-mini/*"), committed("alternatives-mnist/*"), committed("zhao2017-fig3/*/[01]"),
        committed("zhao2017-needed-width/*/0"), committed("zhao2017-fig4bc/*/0"), forecasts_made_up.study(seeds=2),
    ]  # fmt: skip


def test_every_figure_is_one_that_plotly_knows(pruned: Record) -> None:
    count = 0
    for records in kinds(pruned):
        for address, spec in drawn(render(records, title="t")).items():
            if address.endswith("network"):
                continue
            steps = [step["data"] for step in spec.get("steps", [])] or [[{} for _ in spec["data"]]]
            for step in steps:
                data = [{**one, **moved} for one, moved in zip(spec["data"], step, strict=True)]
                plotly.graph_objects.Figure(
                    data=data, layout=spec["layout"]
                )  # raises for what it does not know
                assert all(len(one.get("x", [])) for one in data), address
            count += 1
    assert count > 150


# --- unfinished -----------------------------------------------------------------------------------------------


def test_a_run_at_work_shows_what_there_is(search: Record, pruned: Record, stream: Record) -> None:
    path, tasks = search["result"]["path"], stream["result"]["tasks"]
    accuracy = {**stream["result"]["accuracy"], "rows": stream["result"]["accuracy"]["rows"][:1]}
    half = {key: tasks[1][key] for key in ("task", "wiring")} | {"curve": tasks[1]["curve"][:2]}
    told = [
        (unfinished(search, {"pretraining": [], "path": []}), set()),
        (unfinished(search, {"pretraining": [0.5, 0.6], "path": path[:1]}), {"training", "network"}),
        (unfinished(search, {"pretraining": [0.5], "path": path[:3]}), {"training", "network", "score", "sizes", "fitness"}),
        (unfinished(pruned, {"curve": []}), set()),
        (unfinished(pruned, {"curve": pruned["result"]["curve"][:2]}), {"learning", "network", "sparsity"}),
        (unfinished(stream, {"tasks": [], "accuracy": {**accuracy, "rows": []}}), set()),
        (unfinished(stream, {"tasks": tasks[:1], "accuracy": accuracy, "learning": half}),
         {"network", "sizes", "learning", "matrix", "grown"}),
    ]  # fmt: skip
    for record, panels in told:
        page = render([record], title="t", refresh=5)
        found = set(re.findall(r'<article class="[^"]*" id="going-0-(\w+)"', page))
        assert found == panels
        assert 'data-refresh="5"' in page
        assert "at work" in page


def test_how_far_a_run_is_stands_beside_the_finished_ones(search: Record) -> None:
    going = unfinished(search, {"pretraining": [0.5], "path": []}, doing="growing", done=0.25)
    page = render([going, search], title="t")
    assert "growing" in page
    assert "25" in re.findall(r'<progress max="1" value="0.25"[^>]*>([\d.]+)', page)[0]
    assert "data-refresh" not in page.split("<script", 1)[0]
    assert len(grouped([search])[0].tables()) == page.count(
        '<details class="panel" open><summary>bdnn-digits</summary>'
    )


# --- the page itself ------------------------------------------------------------------------------------------


def test_one_page_is_one_file_without_addresses_elsewhere(search: Record) -> None:
    page = render([search], title="t")
    assert page.count("plotly.js v") == 1
    assert len(page.encode()) < 6e6
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!#|data:)|url\((?!data:)|@import', own)
    assert "recipe" in own
    for told in (search["command"], search["fingerprint"], search["versions"]["torch"], search["commit"]):
        assert told in own
    assert next(iter(search["data"]["sha256"].values())) in own


def test_words_of_a_record_cannot_leave_their_place(search: Record) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    record = copy.deepcopy(search) | {"name": evil, "command": evil}
    record["result"]["warnings"] = [evil]
    record["recipe"]["data"]["path"] = evil
    page = render([record], title=evil, skipped=[evil])
    assert "<script>alert" not in page
    assert "<img" not in page.split("<script>")[0]
    assert page.count("</script>") == render([search], title="t").count("</script>")


def test_what_is_no_number_is_a_gap(search: Record) -> None:
    record = copy.deepcopy(search)
    record["result"]["path"][2]["stability"] = math.nan
    assert trace(figure(render([record], title="t"), "fitness-figure-0"), "S,")["y"][2] is None


def test_whole_numbers_stay_whole(search: Record) -> None:
    record = copy.deepcopy(search)
    record["result"]["path"][2]["mean_weight"] = 1234567.0
    record["result"]["path"][3]["mean_weight"] = 7654321.5
    drawn = trace(figure(render([record], title="t"), "fitness-figure-0"), "E,")["y"]
    assert drawn[2:4] == [1234567.0, 7654322.0]


def test_where_the_data_come_from_is_told_in_words(search: Record) -> None:
    record = copy.deepcopy(search)
    for source, words in (
        (["https://a", "https://b"], "https://a; https://b"),
        ({"one": "https://a"}, "one: https://a"),
    ):
        record["data"]["source"] = source
        assert dict(origin(record).facts)["source of the data"] == words


def test_runs_that_have_no_section_are_counted(search: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    records = committed("bdnn-digits/*")
    assert 'id="left-out"' not in render(records, title="t")
    monkeypatch.setattr("coppice.experiments.page.assemble.DETAILED", 4)
    page = render(records, title="t")
    assert "Of 5 single runs 4 have no section of their own" in page
    assert re.findall(r'id="(run-\d+)"', page) == ["run-0"]


def test_the_recipe_stands_as_toml(search: Record) -> None:
    def without_none(table: dict[str, Any]) -> dict[str, Any]:
        return {k: without_none(v) if isinstance(v, dict) else v for k, v in table.items() if v is not None}

    assert tomllib.loads(toml(search["recipe"])) == without_none(search["recipe"])


def test_axes_and_names_are_short_enough() -> None:
    assert [brief(x) for x in (7, 1500, 2_500_000, 3e9, 0.5)] == ["7", "1.5k", "2.5M", "3G", "0.5"]
    assert [brief(x) for x in (999.4, 999.9, 999_999, -999.9)] == ["999", "1k", "1M", "-1k"]
    ticks = log_axis("n", [20, 1000])["ticktext"]
    assert ticks == ["20", "50", "100", "200", "500", "1k"]
    assert (
        log_axis("n", [400, 20], falling=True)["range"][0]
        > log_axis("n", [400, 20], falling=True)["range"][1]
    )
    assert "type" not in log_axis("n", [90, 100])
    assert wrapped("tasks=digits+pendulum+scenes") == "tasks=digits+pendulum+<br>scenes"
    assert wrapped("short") == "short"


def test_no_record_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        render([], title="t")


@pytest.mark.parametrize("module", ["plotly.offline", "jinja2"])
def test_what_is_missing_is_named_with_the_way_to_get_it(
    module: str, search: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = sys.modules["coppice.experiments.page.render"]
    place._plotly.cache_clear()
    place._environment.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "coppice\[html\]"'):
        render([search], title="t")


def test_a_page_is_written_over_a_page_only(search: Record, tmp_path: Path) -> None:
    page, file = render([search], title="first"), tmp_path / "deep" / "report.html"
    save(file, page)
    save(file, render([search], title="second"))
    assert "<title>second" in file.read_text()
    file.write_text("<html>my own notes</html>")
    with pytest.raises(FileExistsError, match=r"no report of coppice: choose another file"):
        save(file, page)
    assert file.read_text() == "<html>my own notes</html>"
    with pytest.raises(FileExistsError, match="is a folder"):
        save(tmp_path, page)


@pytest.mark.slow
def test_a_hundred_runs_of_two_hundred_epochs_stay_under_ten_megabytes(pruned: Record) -> None:
    """The time is printed, not judged: see benchmarks."""
    begun = time.perf_counter()
    page = render(hundred(pruned), title="t")
    print(f"{len(page) / 1e6:.1f} MB in {time.perf_counter() - begun:.1f} s")
    assert len(page.encode()) < 10e6
    assert len(drawn(page)) > 300


def hundred(pruned: Record, runs: int = 100, epochs: int = 200) -> list[Record]:
    """Runs of four settings, with curves of as many digits as real ones have."""
    found = []
    for number in range(runs):
        record = copy.deepcopy(pruned) | {"seed": number // 4, "fingerprint": str(number)}
        record["recipe"]["method"]["final_sparsity"] = (0.5, 0.7, 0.9, 0.95)[number % 4]
        layers = list(pruned["result"]["curve"][-1]["layers"])
        record["result"]["curve"] = [
            {
                "epoch": e, "loss": math.exp(-e / 50) + number / 977, "score": -math.exp(-e / 40) - number / 877, "error": 0.0123456789 + e / 7919,
                "sparsity": 0.9 * e / epochs, "layers": {name: 0.9 * e / epochs + n / 101 for n, name in enumerate(layers)},
            }
            for e in range(epochs)
        ]  # fmt: skip
        record["result"]["best_epoch"] = epochs - 1
        found.append(json.loads(json.dumps(record)))
    return found


def test_tasks_whose_names_have_no_room_below_an_axis_stand_there_by_number() -> None:
    from coppice.experiments.page.stream import task_axis

    def named(*names: str) -> list[str]:
        return list(task_axis([{"task": name, "curve": [{}]} for name in names])["xaxis"]["ticktext"])

    assert named("digits", "cart-pole") == ["digits", "cart-pole"]
    assert named("split-cifar100-1", "split-cifar100-2") == ["1", "2"]
    assert named(*"abcdefghi") == [*"123456789"]
