"""The figures of docs/methods/, as PNG and SVG, from the records in results/. Called by tables.py."""

import statistics
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
from forecasting_study import LENGTH, recorded
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sources import found_records, records
from tables_bdnn_sp import CLASSES, NETS, SAMPLES, chosen, mean_curve, needs
from tables_forecasting import figures_of

from coppice.experiments.figures import COLOURS, house_style, save, search_figure
from coppice.experiments.figures_continual import continual_figures
from coppice.experiments.figures_forecasting import forecasting_figures
from coppice.experiments.report_forecasting import Cell

FOLDER = Path(__file__).parent / "figures"
SIZES = [5, 10, 20, 50, 100, 200, 500, 1000]


def draw_all() -> None:
    """Every figure."""
    with house_style():
        demo = search_figure(records("bdnn-digits")[0])
        for name, figure in {"demo": demo, "fig3": fig3(), "fig4a": fig4a(), "fig4bc": fig4bc()}.items():
            save(figure, FOLDER / name)
    for name, figure in td_mcl_figures():
        save(figure, FOLDER / name)
    study = recorded()
    shown = {*figures_of(study), f"ranks-length{LENGTH}"}
    same = [record for record in study.records if Cell.of(record).length == LENGTH]
    for name, figure in forecasting_figures(same):
        if name in shown:
            save(figure, FOLDER / name)


def td_mcl_figures() -> Iterator[tuple[str, Figure]]:
    """Of the reduced CIFAR-100: what grew and died in the first seed, and what each arm makes of its synapses."""
    found = sorted(found_records("continual-cifar-mini"), key=lambda record: record["seed"])
    drawn = dict(continual_figures(found)) if found else {}
    for name in drawn.keys() & {"arms", f"dynamics-{found[0]['seed']}" if found else ""}:
        yield f"td-mcl-{name.split('-')[0]}", drawn[name]


def fig3() -> Figure:
    """A, S, E and F against the remaining neurons, ten classes; mean over seeds."""
    titles = {
        "score": "A   validation accuracy",
        "stability": "B   stability S",
        "mean_weight": "C   mean weight E",
        "fitness": "D   fitness F",
    }
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    for axis, (key, title) in zip(axes.flat, titles.items(), strict=True):
        for samples, colour in zip(
            SAMPLES, mpl.colormaps["viridis_r"]([i / 6 + 0.12 for i in range(6)]), strict=True
        ):
            curve = mean_curve(samples, 10, key)
            axis.plot(list(curve), list(curve.values()), color=colour, label=f"{samples:,}")
        axis.set_title(title, loc="left", fontsize=11)
        axis.set_xscale("log")
        axis.set_xticks(SIZES, [str(size) for size in SIZES])
        axis.minorticks_off()
    for axis in axes[1]:
        axis.set_xlabel("remaining hidden neurons")
    axes[0, 0].legend(title="training samples", ncols=2, fontsize=9)
    return figure


def fig4a() -> Figure:
    """The chosen size against the number of samples, 10 and 5 classes."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    rules = (
        "one standard error (ours)",
        "published F, at least 20 neurons",
        "published F, no floor",
        "A + S",
    )
    for axis, classes in zip(axes, CLASSES, strict=True):
        direct = [needs(samples, classes) for samples in SAMPLES]
        axis.plot(SAMPLES, direct, "k--", marker="s", label="direct training needs")
        for rule, colour in zip(rules, COLOURS, strict=False):
            found = [chosen(rule, samples, classes) for samples in SAMPLES]
            sizes, spread = [f[0] for f in found], [f[1] for f in found]
            axis.errorbar(SAMPLES, sizes, yerr=spread, color=colour, marker="o", capsize=3, label=rule)
        axis.set(xscale="log", yscale="log", xlabel="training samples", title=f"{classes} classes")
        axis.set_xticks(SAMPLES, [f"{samples:,}" for samples in SAMPLES], fontsize=8)
        axis.set_yticks([5, 10, 20, 50, 100, 200], ["5", "10", "20", "50", "100", "200"])
        axis.minorticks_off()
    axes[0].set_ylabel("hidden neurons chosen")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return figure


def fig4bc() -> Figure:
    """Error while new samples are learned, learning rate 0.1; mean over seeds."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    runs = records("zhao2017-fig4bc", "learning_rate=0.1")
    for axis, count, title in zip(
        axes, ("19200", "1200"), ("B   19,200 new samples", "C   1,200 new samples, five passes"), strict=True
    ):
        for net, colour in zip(NETS, COLOURS, strict=False):
            curves = [run["result"]["parts"][net]["curves"][count]["error"] for run in runs]
            seen = [point[0] for point in curves[0]]
            error = [100 * statistics.mean(curve[i][1] for curve in curves) for i in range(len(seen))]
            axis.plot(seen, error, color=colour, label=net, linewidth=2 if net == "un-pruned" else 1.4)
        axis.set_title(title, loc="left", fontsize=11)
        axis.set(xlabel="samples learned", ylabel="validation error, %")
        axis.xaxis.set_major_locator(MaxNLocator(5))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=9)
    return figure
