"""Tables and figures of the forecasting study, from made-up records whose answers are known."""

import copy
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from coppice.experiments import figures_forecasting as figures
from coppice.experiments import report, report_forecasting, statistics
from coppice.experiments.figures import save
from coppice.experiments.report_forecasting import Cell
from forecasts_made_up import DATA, MODELS, made_up, study

GAIN = {"pruned 0.9": -6.0, "random 0.9": 18.0}


def seeds(count: int, **options: Any) -> list[dict[str, Any]]:
    return [made_up(seed=seed, **options) for seed in range(count)]


def column(records: list[dict[str, Any]], method: str) -> dict[str, str]:
    (group,) = report.grouped(records)
    _, header, lines = group.table()
    assert {len(line) for line in lines} == {len(header)}
    return dict(zip(header, next(line for line in lines if line[0] == method), strict=True))


def test_a_method_that_is_six_percent_better_on_every_seed() -> None:
    row = column(seeds(8, percent=GAIN, noise=0), "pruned 0.9")
    assert row["against dense, % [95 %]"] == "-6.0 [-6.0, -6.0]"
    assert row["wins"] == "8/8"
    # 2 / 2^8 = 0.0078 for each of 15 comparisons, of which 13 have a p of 1 or the same: 15 x 0.0078
    assert row["p (Holm)"] == "0.117"
    assert row["alive"] == "2,400"
    assert row["bytes"] == "12,875"
    assert row["training time, dense = 1"] == "1.02 ± 0.00"


def test_losses_are_shown_as_wins_are() -> None:
    row = column(seeds(8, percent=GAIN, noise=0), "random 0.9")
    assert row["against dense, % [95 %]"] == "+18.0 [+18.0, +18.0]"
    assert (row["wins"], row["p (Holm)"]) == ("0/8", "0.117")


def test_a_method_whose_errors_were_not_finite_has_no_line() -> None:
    records = seeds(3)
    records[0]["result"]["parts"]["vos2025"]["test"] = None
    for found in records:
        found["result"]["parts"]["small dense"]["test"] = None
    rows = {row.method: row.test.runs for row in report_forecasting.rows(records)}
    assert rows["vos2025"] == 2
    assert rows["dense"] == 3
    assert "small dense" not in rows


def test_the_numbers_are_those_of_the_statistics() -> None:
    records = seeds(10, percent=GAIN, noise=3.0)
    row = {row.method: row for row in report_forecasting.rows(records)}["pruned 0.9"]
    tests = {name: [r["result"]["parts"][name]["test"] for r in records] for name in ("pruned 0.9", "dense")}
    ratios = [100 * (a - b) / b for a, b in zip(tests["pruned 0.9"], tests["dense"], strict=True)]
    assert row.test == statistics.mean(tests["pruned 0.9"])
    assert row.against is not None
    assert row.against.percent.mean == pytest.approx(sum(ratios) / 10)
    assert row.against.p == statistics.wilcoxon(ratios)
    family = report_forecasting.methods(records)
    p = {name: report_forecasting.against(records, name) for name in family if name != "dense"}
    adjusted = statistics.holm({name: found.p for name, found in p.items() if found and found.p is not None})
    assert row.holm == adjusted["pruned 0.9"]
    assert len(adjusted) == len(family) - 1


def test_the_reference_and_what_was_not_trained_have_empty_places() -> None:
    records = seeds(6)
    assert column(records, "dense")["against dense, % [95 %]"] == ""
    assert column(records, "persistence")["training time, dense = 1"] == ""
    assert column(records, "persistence")["bytes"] == ""
    # it forecasts with the network of "dropout 0.3": its clock holds no training
    assert column(records, "MC dropout")["training time, dense = 1"] == ""


def test_few_seeds_give_intervals_but_no_test_and_one_seed_neither() -> None:
    row = column(seeds(5, percent=GAIN), "pruned 0.9")
    assert row["p (Holm)"] == "n < 6"
    assert row["wins"] == "5/5"
    alone = column(seeds(1, percent=GAIN), "pruned 0.9")
    assert (alone["against dense, % [95 %]"], alone["p (Holm)"], alone["wins"]) == ("", "", "")
    assert "±" not in alone["test MAE, σ"]


def test_pairs_are_the_seeds_that_have_both() -> None:
    records = seeds(8, percent=GAIN, noise=0)
    del records[3]["result"]["parts"]["pruned 0.9"]
    row = column(records, "pruned 0.9")
    assert row["wins"] == "7/7"
    for record in records:
        record["result"]["parts"].pop("dense")
    assert column(records, "random 0.9")["against dense, % [95 %]"] == ""


def test_the_title_says_cell_seeds_and_what_else_differs() -> None:
    records = seeds(3) + [made_up("bitcoin", "patchtst", seed=seed) for seed in (0, 2)]
    titles = [group.table().title for group in report.grouped(records)]
    assert titles[0].startswith("forecasting: air-quality, lstm, length 14 (n = 3, seeds 0-2); against dense")
    assert "bitcoin, patchtst, length 14 (n = 2, seeds 0, 2)" in titles[1]
    other = made_up(seed=9)
    other["recipe"]["training"] = {"epochs": 5}
    other["fingerprint"] = "9"
    for record in records:
        record["recipe"]["training"] = {"epochs": 20}
    shorter = report.grouped([*records, other])[2].table()
    assert shorter.title.startswith("forecasting, epochs=5: air-quality, lstm, length 14 (n = 1, seed 9)")


def test_a_table_of_ones_own_is_known_by_its_file() -> None:
    record = made_up()
    record["recipe"]["data"]["csv"] = "mine.csv"
    assert Cell.of(record) == ("mine.csv", "lstm", 14)


def test_a_seed_twice_in_a_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="air-quality, lstm, length 14: there are two records of seed 2"):
        report_forecasting.cells([*seeds(3), made_up(seed=2, noise=5.0)])


def plain(seed: int, test: float) -> dict[str, Any]:
    """The record of one run, not of the study; persistence errs by 0.369, the seasonal rule by 0.52."""
    run = made_up(seed=seed)
    parts = run["result"].pop("parts")
    naive = {name: parts[name] for name in ("persistence", "seasonal naive")}
    run["result"] = {"final": {**parts["pruned 0.9"], "test": test, "latency": 1e-4}, "naive": naive}
    run["timing"]["latency"] = {"final": 1e-4}
    return {**run, "fingerprint": str(seed)}


def test_plain_runs_have_a_line_each_and_a_mean() -> None:
    runs = [plain(seed, 0.3 + 0.1 * seed) for seed in (0, 1)]
    (group,) = report.grouped(runs)
    title, header, lines = group.table()
    assert title == "forecasting: air-quality, lstm, length 14 (n = 2, seeds 0, 1)"
    assert header[1:5] == ["test MAE, σ", "in the target's unit", "persistence", "seasonal naive"]
    assert [line[1] for line in lines] == ["0.3000", "0.4000", "0.3500 ± 0.6353"]
    assert lines[0][3:] == ["0.3690", "0.5200", "19,500", "2,400", "12,875", "100"]
    assert len(report.grouped(runs[:1])[0].table().lines) == 1


@pytest.mark.parametrize(
    ("tests", "says"),
    [
        ((0.3, 0.4), ""),
        ((0.369,), "no better than persistence, 0.3690 against 0.3690: "),
        ((0.6, 0.3), "no better"),
    ],
)
def test_who_is_no_better_than_a_rule_without_a_network_is_told(tests: tuple[float, ...], says: str) -> None:
    runs = [plain(seed, test) for seed, test in enumerate(tests)]
    remark = report.grouped(runs)[0].remark()
    assert remark.startswith(says)
    assert bool(remark) is bool(says)
    for transform in ("none", "difference"):
        for run in runs:
            run["recipe"]["data"]["transform"] = transform
        advised = "data.transform=difference" in report.grouped(runs)[0].remark()
        assert advised is (bool(says) and transform == "none")


def test_an_error_that_was_not_finite_is_no_better_and_no_worse() -> None:
    runs = [plain(0, 0.6), plain(1, 0.6)]
    runs[1]["result"]["final"]["test"] = None  # as a record keeps it
    assert report.grouped(runs)[0].remark() == ""


def test_a_study_is_told_nothing_that_its_table_holds() -> None:
    assert report.grouped(seeds(3))[0].remark() == ""


def test_blocks_are_cells_not_seeds_and_methods_that_a_cell_lacks_are_left_out() -> None:
    records = study(seeds=3, percent=GAIN)
    del records[0]["result"]["parts"]["vos2025"]  # of one seed only: the others still make a mean
    for record in records[-3:]:
        del record["result"]["parts"]["neurons 0.5"]
    table = report_forecasting.cells(records)
    blocks, left_out = report_forecasting.blocks(table)
    assert len(blocks) == len(DATA) * len(MODELS)
    assert left_out == ["neurons 0.5"]
    first = blocks[Cell("air-quality", "rnn", 14)]
    assert first["dense"] == pytest.approx(
        sum(r["result"]["parts"]["dense"]["test"] for r in records[:3]) / 3
    )
    ranked = report_forecasting.ranking(table)
    assert ranked.blocks == 12
    assert next(iter(ranked.mean_ranks)) == "pruned 0.9"
    assert ranked.mean_ranks["random 0.9"] > ranked.mean_ranks["dense"]


def test_too_few_cells_are_not_ranked() -> None:
    with pytest.raises(ValueError, match="at least 5 blocks, but there are 1"):
        report_forecasting.ranking(report_forecasting.cells(seeds(3)))


def test_each_length_has_its_figures_and_each_cell_its_curve() -> None:
    names = [name for name, _ in figures.forecasting_figures(study(2, lengths=(7, 14)))]
    assert names[:4] == ["error-length7", "ranks-length7", "error-length14", "ranks-length14"]
    assert len(names) == 4 + 2 * len(DATA) * len(MODELS)
    assert "sparsity-sp500-patchtst-length14" in names
    # one seed of one cell: no pairs, no ranks, but a curve
    assert [n for n, _ in figures.forecasting_figures(seeds(1))] == ["sparsity-air-quality-lstm-length14"]


def test_the_error_figure_draws_the_paired_differences_with_dense_at_zero() -> None:
    table = report_forecasting.cells([*seeds(4, percent=GAIN), *seeds(4, model="rnn", percent=GAIN)])
    (axes,) = [a for a in figures.error_figure(table).axes if a.get_visible()]
    assert axes.get_title(loc="left") == "air-quality"
    assert list(axes.lines[0].get_ydata()) == [0, 0]  # type: ignore[arg-type]
    curves = [bars.lines[0] for bars in axes.containers]  # type: ignore[attr-defined]
    expected = report_forecasting.against(table[Cell("air-quality", "lstm", 14)], "pruned 0.9")
    assert expected is not None
    assert curves[0].get_ydata()[2] == pytest.approx(expected.percent.mean)
    assert len(curves) == 2


def test_the_sparsity_figure_draws_curve_and_layers_of_what_prunes() -> None:
    record = made_up()
    left, right = figures.sparsity_figure(record).axes
    assert len(left.lines) == 8
    assert [t.get_text() for t in right.get_yticklabels()] == list(
        record["result"]["parts"]["vos2025"]["layers"]
    )
    assert left.lines[4].get_ydata()[-1] == 0.9  # type: ignore[index]
    dense = copy.deepcopy(record)
    dense["result"]["parts"] = {"dense": dense["result"]["parts"]["dense"]}
    with pytest.raises(ValueError, match="seed 0: no method of this record prunes"):
        figures.sparsity_figure(dense)


def test_the_rank_figure_names_every_method_and_leaves_matplotlib_alone(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    ranked = report_forecasting.ranking(report_forecasting.cells(study(2, percent=GAIN)))
    figure = figures.ranks_figure(ranked)
    texts = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert all(f"{rank:.1f}" in texts and name in texts for name, rank in ranked.mean_ranks.items())
    assert (
        save(figure, tmp_path / "a")[1].read_bytes()
        == save(figures.ranks_figure(ranked), tmp_path / "b")[1].read_bytes()
    )
    assert dict(matplotlib.rcParams) == before
