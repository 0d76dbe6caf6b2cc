"""Phases of a guest's run: from its line "begin NAME" to its line "end NAME COUNT"."""

from runner import Run


def measure_phases(argv, names, limit, per):
    """Wall and CPU time of each phase, in seconds for each `per` units of its count."""
    with Run(argv, limit) as run:
        result = run.finish()
    figures = {}
    for name in names:
        begin, end = result.find(f"bench: begin {name}"), result.find(f"bench: end {name} ")
        count = int(end.text.split()[-1]) / per
        figures[f"{name} wall"] = (end.wall - begin.wall) / count
        figures[f"{name} cpu"] = (end.cpu - begin.cpu) / count
    return figures
