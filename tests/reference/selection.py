"""Slow literal twin of parts/selection: Python lists, Python floats, a sort."""


def weakest(
    scores: dict[str, list[float]], alive: dict[str, list[bool]], sparsity: float
) -> dict[str, list[bool]]:
    """Flat lists in, flat lists out."""
    doomed = {name: [False] * len(row) for name, row in scores.items()}
    size = sum(len(row) for row in alive.values())
    dead = sum(row.count(False) for row in alive.values())
    order = {name: number for number, name in enumerate(scores)}
    ranks = sorted(
        (score, order[name], position, name)
        for name, row in scores.items()
        for position, score in enumerate(row)
        if alive[name][position]
    )
    for _, _, position, name in ranks[: max(0, round(sparsity * size) - dead)]:
        doomed[name][position] = True
    return doomed
