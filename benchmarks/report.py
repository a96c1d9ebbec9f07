"""What the benchmark of imports came to: tables in README.md between two marks, and imports.svg.

Everything is computed from imports.json, which has every single measurement.
`python -m benchmarks.report` renews both from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from roster_pipeline.reports.charts import bar_chart

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "imports.json"
README = FOLDER / "README.md"
CHART = FOLDER / "imports.svg"
MARKS = ("<!-- made by report.py -->", "<!-- until here -->")
SYSTEMS = {"floor": "floor", "sqlite": "SQLite", "postgresql": "PostgreSQL"}
CASES = {
    "first": "first import",
    "unchanged": "unchanged",
    "changed": "1 % changed",
    "rejected": "30 % rejected",
}
SHOWN = 100_000
"""The size that is shown in detail; the largest measured one where that was not measured."""

Key = tuple[int, str, str, str]
"""Students, system, case, how: what a measurement is of."""


class Results:
    """The measurements, and their medians."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.told = told
        self.runs: dict[Key, list[Mapping[str, Any]]] = {}
        for run in told["runs"]:
            key = (run["students"], run["system"], run["case"], run["how"])
            self.runs.setdefault(key, []).append(run)
        self.sizes = sorted({students for students, *_ in self.runs})
        self.systems = [s for s in SYSTEMS if any(key[1] == s for key in self.runs)]
        self.shown = SHOWN if SHOWN in self.sizes else self.sizes[-1]

    def values(self, key: Key, what: str) -> list[float]:
        """All measurements of one thing. what: seconds, or memory in MiB."""
        return [run[what] for run in self.runs.get(key, ())]

    def stages(self, key: Key) -> dict[str, float]:
        """The median seconds of each stage."""
        runs = [run["stages"] for run in self.runs[key]]
        names = dict.fromkeys(name for stages in runs for name in stages)
        return {name: median(stages.get(name, 0) for stages in runs) for name in names}


def bounds(results: Results) -> list[tuple[str, float, float, str]]:
    """What an import may cost at most: what it is, the measured median, the bound, the unit.
    Only what was measured."""
    size, large = SHOWN, 5 * SHOWN
    floor = {case: (size, "floor", case, "work") for case in CASES}
    wanted: list[tuple[str, str, Key, Key | None, float]] = []
    for system, most in (("sqlite", 4), ("postgresql", 5)):
        name = SYSTEMS[system]
        work = {case: (size, system, case, "work") for case in CASES}
        larger = (large, system, "first", "work")
        wanted += [
            (f"{name}: first import / floor", "seconds", work["first"], floor["first"], most),
            (f"{name}: 1 % changed / floor", "seconds", work["changed"], floor["changed"], 3),
            (f"{name}: unchanged", "seconds", work["unchanged"], None, 1),
            (f"{name}: 30 % rejected / clean", "seconds", work["rejected"], work["first"], 1.5),
            (f"{name}: {large:,} / {size:,} students", "seconds", larger, work["first"], 5.5),
        ]
    process: Key = (size, "sqlite", "first", "process")
    larger = (large, *process[1:])
    wanted += [
        ("`roster import`, whole process", "seconds", process, None, 20),
        (f"the same, {large:,} / {size:,} students", "seconds", larger, process, 5.5),
        (f"peak memory, {large:,} / {size:,} students", "memory", larger, process, 5.5),
        ("peak memory", "memory", process, None, 1536),
        ("`roster --help`", "seconds", (size, "sqlite", "--help", "process"), None, 0.5),
        ("`roster imports`", "seconds", (size, "sqlite", "imports", "process"), None, 1.5),
    ]
    units = {"seconds": "s", "memory": "MiB"}
    return [
        (text, median(above) / median(below), most, "times" if of else units[what])
        for text, what, key, of, most in wanted
        if (above := results.values(key, what))
        and (below := results.values(of, what) if of else [1.0])
    ]


def as_text(told: Mapping[str, Any]) -> str:
    """The tables, in MarkDown."""
    results = Results(told)
    shown = f"{results.shown:,} students"
    machine = ", ".join(f"{name} {what}" for name, what in told["machine"].items())
    parts = [
        f"Measured on {told['made']}, medians of {told['rounds']} (least–most). {machine}.",
        _table(("students", "CSV", "records", "rejected of them"), _sizes(results), text_columns=0),
    ]
    if asked := bounds(results):
        parts += [
            f"### What is asked, at {SHOWN:,} students where nothing else is said",
            _table(("", "measured", "at most", "in", ""), _asked(asked)),
        ]
    parts += [
        "### Work, in seconds (× the floor's)",
        _table(*_measured(results, "work", "seconds")),
        "### Whole process, in seconds",
        _table(*_measured(results, "process", "seconds")),
        "### Peak memory of the process, in MiB",
        _table(*_measured(results, "process", "memory")),
        f"### Seconds by stage, {shown}",
        _table(*_stages(results, [s for s in results.systems if s != "floor"])),
        "The floor's, by its own stages:",
        _table(*_stages(results, ["floor"])),
        "### What a process spends on importing libraries, in seconds",
        "By `python -X importtime`, which itself costs a little. Each library has what it is the "
        "first to ask for.",
        _table(("", "seconds"), _libraries(told["libraries"])),
    ]
    return "\n\n".join(parts) + "\n"


def chart(told: Mapping[str, Any]) -> str:
    """The work of each case at the size shown, as SVG."""
    results = Results(told)
    bars = [
        (f"{CASES[case]}, {SYSTEMS[system]}", round(1000 * median(seconds)))
        for case in CASES
        for system in results.systems
        if (seconds := results.values((results.shown, system, case, "work"), "seconds"))
    ]
    title = f"Milliseconds of work, {results.shown:,} students"
    return f"{bar_chart('imports', title, bars)}\n"


def renew_pages(told: Mapping[str, Any]) -> None:
    """Put the tables into README.md, and the chart beside it."""
    README.write_text(with_tables(README.read_text(), as_text(told)))
    CHART.write_text(chart(told))


def with_tables(page: str, tables: str) -> str:
    """The page with the tables between its marks."""
    begin, end = MARKS
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{tables}\n{end}{after}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """A MarkDown table whose columns after the first `text_columns` are numbers."""
    aligned = ["---"] * text_columns + ["---:"] * (len(heads) - text_columns)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, aligned, *rows))


def _sizes(results: Results) -> list[list[str]]:
    rows = []
    for size in results.sizes:
        d = results.told["deliveries"][str(size)]
        share = f"{d['rejected'] / d['records']:.0%}"
        rows.append([f"{size:,}", f"{d['bytes'] / 1e6:.1f} MB", f"{d['records']:,}", share])
    return rows


def _asked(asked: list[tuple[str, float, float, str]]) -> list[list[str]]:
    return [
        [text, _number(value), f"{most:g}", unit, "" if value <= most else "**over**"]
        for text, value, most, unit in asked
    ]


def _measured(results: Results, how: str, what: str) -> tuple[list[str], list[list[str]]]:
    """A table of all sizes and cases by system."""
    rows = []
    for size in results.sizes:
        for case, name in CASES.items():
            floor = results.values((size, "floor", case, how), what)
            cells = [f"{size:,} students, {name}"]
            for system in results.systems:
                values = results.values((size, system, case, how), what)
                times = ""
                if how == "work" and floor and system != "floor":
                    times = f" × {median(values) / median(floor):.1f}"
                cells.append(_spread(values) + times)
            rows.append(cells)
    return ["", *(SYSTEMS[system] for system in results.systems)], rows


def _stages(results: Results, systems: Iterable[str]) -> tuple[list[str], list[list[str]]]:
    """A line for each stage at the size shown, and for what is around them."""
    columns: dict[str, dict[str, float]] = {}
    for system in systems:
        for case, name in CASES.items():
            key = (results.shown, system, case, "work")
            if runs := results.runs.get(key):
                around = median(run["seconds"] - sum(run["stages"].values()) for run in runs)
                stages = {**results.stages(key), "before, between, after": around}
                columns[f"{SYSTEMS[system]}, {name}"] = stages
    names = dict.fromkeys(name for stages in columns.values() for name in stages)
    rows = [
        [name, *(_number(stages.get(name, 0)) for stages in columns.values())] for name in names
    ]
    return ["", *columns], rows


def _libraries(rounds: Sequence[Mapping[str, float]]) -> list[list[str]]:
    """The libraries that take longest, and all of them."""
    names = {name for taken in rounds for name in taken}
    middle = {name: median(taken.get(name, 0) for taken in rounds) for name in names}
    longest = sorted(middle, key=lambda name: -middle[name])[:10]
    total = median(sum(taken.values()) for taken in rounds)
    rest = total - sum(middle[name] for name in longest)
    rows = [(name, middle[name]) for name in longest]
    return [[name, _number(s)] for name, s in (*rows, ("others", rest), ("all", total))]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{_number(median(values))} ({_number(min(values))}–{_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 10 else f"{value:.2f}"


if __name__ == "__main__":
    renew_pages(json.loads(RESULTS.read_text()))
