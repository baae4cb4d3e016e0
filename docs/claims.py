"""The claims made for synaptic pruning, in short own words, and what the records say of each.

No verdict stands here: `claim_rules` computes it. The numbers run through the article on the paper and its abstracts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import claim_rules as rules
from claim_rules import OURS, PAPER, Judge
from forecasting_study import Missing, Study
from sources import markdown


@dataclass(frozen=True)
class Claim:
    """What is claimed; `paper`: the figure given for it; the rule, or why the records cannot decide."""

    number: str
    words: str
    paper: str
    judge: Judge | str


CLAIMS = (
    Claim(
        "A1", "models the pruning of a developing brain", "", "a point of view; see below what is biological"
    ),
    Claim("A2", "what is removed stays removed", "", rules.permanent),
    Claim("A3", "single weights of all layers, under one global threshold", "", rules.one_threshold),
    Claim("A4", "a cubic schedule raises sparsity", "cubic", rules.cubic_curve),
    Claim("A5", "a warm-up comes first", "2 of 20 epochs", rules.warmed_up),
    Claim(
        "A6",
        "magnitudes are watched and masks updated all along",
        "",
        "code, not a measurement: `Pruning.events` has every update",
    ),
    Claim("A7", "no second phase of pruning and fine-tuning", "", rules.one_phase),
    Claim(
        "A8",
        "gradients flow on for the living weights",
        "",
        "code, not a measurement: `tests/test_synaptic_optimizers.py`",
    ),
    Claim("A9", "3 models on 4 data sets", "12 pairs", rules.covered),
    Claim("A10", "RNN: always better than MC dropout", "all sets", rules.better_on("rnn", "MC dropout", 1)),
    Claim(
        "A10",
        "RNN: clearly better than dropout on most sets",
        "most sets",
        rules.better_on("rnn", "dropout 0.3", 0.5),
    ),
    Claim("A11", "RNN: little training time more", "+4.4 %", rules.cheap("rnn", 4.4)),
    Claim("A12", "LSTM: mean error lower", "-9.8 %", rules.mean_error("lstm", -9.8, "dense")),
    Claim(
        "A12",
        "the same, against dropout (the article does not say against what)",
        "-9.8 %",
        rules.mean_error("lstm", -9.8, "dropout 0.3"),
    ),
    Claim(
        "A12",
        "LSTM, S&P 500: error lower",
        "-21.5 %",
        rules.one_error(lambda study: study.stocks, "lstm", -21.5),
    ),
    Claim(
        "A13",
        "PatchTST: mean error lower than that of each other method",
        "-17.5 to -24.1 %",
        rules.mean_error("patchtst", -17.5, "dense", "dropout 0.3", "MC dropout"),
    ),
    Claim(
        "A13",
        "PatchTST, Bitcoin: error lower",
        "-32.0 %",
        rules.one_error(lambda study: "bitcoin", "patchtst", -32.0),
    ),
    Claim(
        "A14",
        "finance: error lower than without and with dropout",
        "up to -20 %",
        rules.up_to(-20, lambda study: study.finance),
    ),
    Claim(
        "A14",
        "some transformers: error lower",
        "up to -52 %",
        rules.up_to(-52, lambda study: study.data, ("patchtst",)),
    ),
    Claim("A15", "best mean rank of four, Friedman", "p < 0.01", rules.best_rank),
    Claim("A16", "significant above all in finance", "", rules.mostly_in_finance),
    Claim(
        "A17",
        "pays at moderate lengths; what can be measured of it: the overhead falls with the length",
        "",
        rules.cheaper_when_longer,
    ),
    Claim("A18", "stable memory", "", rules.stable_memory),
    Claim("A19", "structurally sparse networks", "", rules.really_smaller),
    Claim(
        "A20",
        "a drop-in for dropout",
        "",
        "code, not a measurement: two lines, `tests/test_synaptic_pruning.py`",
    ),
    Claim("A21", "limits: few models, larger data to come", "", "no result is claimed; we agree"),
    Claim(
        "A22",
        "to come: growth and pruning together",
        "",
        "no result is claimed; `regrow` and `newborn` offer it",
    ),
    Claim(
        "A23",
        "little effect on other data in other networks (third-hand)",
        "",
        "this benchmark has series only",
    ),
)


def verdict(claim: Claim, study: Study, form: str) -> tuple[str, str]:
    """What we found for a form, and: reproduced, not reproduced or not testable."""
    if isinstance(claim.judge, str):
        return claim.judge, "not testable"
    try:
        words, holds = claim.judge(study, form)
    except Missing as missing:
        return str(missing), "not testable"
    return words, "reproduced" if holds else "not reproduced"


def claims_table(study: Study) -> Iterator[str]:
    """One line a claim: the paper's own form of the method, and ours, each by the same rule."""
    lines = []
    for claim in CLAIMS:
        (theirs, first), (ours, second) = (verdict(claim, study, form) for form in (PAPER, OURS))
        together = f"**{first}**" if first == second else f"**{first}**; ours: **{second}**"
        lines.append(
            [claim.number, claim.words, claim.paper, theirs, "" if ours == theirs else ours, together]
        )
    header = ["", "claim", "paper", f"the paper's form here (`{PAPER}`)", f"ours (`{OURS}`)", "verdict"]
    yield from markdown(header, lines)
