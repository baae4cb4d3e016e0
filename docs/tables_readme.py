"""Tables of the README that speak of all methods, or of TD-MCL. Used by tables.py."""

from collections.abc import Iterator

import tables_bdnn_sp as bdnn_sp
from claim_rules import OURS, PAPER
from claim_rules_td_mcl import Study as Skills
from claim_rules_td_mcl import accuracy, bwt
from claims import CLAIMS, verdict
from forecasting_study import recorded
from sources import found_records, markdown

from coppice.experiments.statistics import mean

ARMS = {
    "td-mcl": "TD-MCL",
    "direct": "a network of its own for each task",
    "direct narrow": "the same, together as large as TD-MCL",
    "warm-start": "each starts from the one before",
    "wsn 0.4": "WSN, 40 % of one network a task",
    "packnet": "PackNet",
    "ewc": "EWC",
    "finetune": "one network, trained on",
}
EFFECTS = {"A12": "LSTM, error against dense", "A13": "PatchTST, error against dense, dropout, MC dropout"}


def papers_table() -> Iterator[str]:
    """What each paper says of its main effect, beside what its form and ours came to here."""
    lines = [_size_follows_task()]
    study = recorded()
    for number, words in EFFECTS.items():
        claim = next(claim for claim in CLAIMS if claim.number == number)
        (theirs, _), (ours, _) = (verdict(claim, study, form) for form in (PAPER, OURS))
        lines.append([f"synaptic pruning: {words}", claim.paper, theirs, ours])
    lines.append(
        ["TD-MCL: any", "its tables were not at hand", "", "the table above, beside what others do on it"]
    )
    yield from markdown(["effect", "the paper", "its form here", "ours"], lines)


def _size_follows_task() -> list[str]:
    tasks = [(samples, classes) for classes in bdnn_sp.CLASSES for samples in bdnn_sp.SAMPLES]
    needed = [bdnn_sp.needs(*task) for task in tasks]
    found = []
    for rule in ("published F, at least 20 neurons", "one standard error (ours)"):
        rank, ratio = bdnn_sp.agreement([bdnn_sp.chosen(rule, *task)[0] for task in tasks], needed)
        found.append(f"rank correlation with the size that is needed {rank:.2f}; {ratio:.2f} of that size")
    return [
        "BDNN-sp: the size found follows the task, Fig. 4A",
        "grows with samples and classes",
        *found,
    ]


def skills_table() -> Iterator[str]:
    """TD-MCL beside what one would do without it."""
    study = Skills(found_records("continual-cifar-mini"), ())
    lines = []
    for arm, words in ARMS.items():
        parts = list(study.parts(arm).values())
        lines.append(
            [
                words,
                mean([100 * accuracy(part) for part in parts]).text(1),
                "" if arm == "td-mcl" else study.points(arm, "td-mcl", accuracy).text(1),
                mean([bwt(part) for part in parts]).text(1),
                f"{mean([part['synapses'][-1] for part in parts]).value:,.0f}",
            ]
        )
    header = [
        "",
        "accuracy after the last task, %",
        "against TD-MCL, points [95 %]",
        "BWT",
        "living synapses",
    ]
    yield from markdown(header, lines)
