"""The claims made for TD-MCL, in short own words, and what the records say of each.

They are those of the abstracts and of the press text. No number of the paper was at hand, so a claim is supported or not,
never reproduced. No verdict stands here: `claim_rules_td_mcl` computes it.
"""

from collections.abc import Callable, Iterator

import claim_rules_td_mcl as rules
from claim_rules_td_mcl import Finding, Missing, Study
from sources import found_records, markdown

CLAIMS: tuple[tuple[str, str, Callable[[Study], Finding] | str], ...] = (
    ("C1", "the right connections do, not the most", rules.fewer_connections),
    ("C2", "perception, then motor, then interaction is the best order", rules.best_order),
    ("C3", "the complex is learned more reliably than directly", rules.steadier),
    ("C4", "feedback finds the redundant connections", rules.feedback_knows),
    ("C5", "old weights need not be frozen", rules.without_freezing),
    ("C6", "long-range links strengthen, and are of use", rules.links_strengthen),
    ("C7", "the whole does not grow", rules.never_larger),
    ("C8", "little is forgotten, without replay or penalty", rules.forgets_little),
    ("C9", "earlier modules get ever smaller", rules.old_modules_shrink),
    ("C10", "less energy", rules.cheaper),
    ("C11", "stable across kinds of tasks", rules.across_functions),
    (
        "C12",
        "strong on CIFAR-100 and on parts of ImageNet",
        "full size needs a GPU; this is the reduced form",
    ),
    ("C13", "new tasks gain from old ones", rules.learns_more),
    ("C14", "old tasks are kept while their modules shrink", rules.kept_while_shrinking),
    ("C15", "local connections rise and fall, links strengthen", rules.rise_then_fall),
    ("C16", "what dies is noise and detail of one task", "no probe was run"),
    ("C17", "spikes and pruning save work", rules.sparse_work),
    ("C18", "biologically plausible", "a point of view; what each learner keeps is in the table above"),
    ("C19", "so brains develop", "background, not a result"),
    ("C20", "a path to general intelligence", "not repeated here"),
)


def claims_table() -> Iterator[str]:
    study = Study(*map(found_records, ("continual-cifar-mini", "order-pmi-mini", "worth-cifar-mini")))
    lines = []
    for number, words, judge in CLAIMS:
        if isinstance(judge, str):
            found, verdict = judge, "not testable"
        else:
            try:
                found, holds = judge(study)
                verdict = "supported" if holds else "not supported"
            except Missing as missing:
                found, verdict = str(missing), "not testable"
        lines.append([number, words, found, f"**{verdict}**"])
    yield from markdown(["", "claim", "what we found", "verdict"], lines)
