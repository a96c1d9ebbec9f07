"""Commands of `roster` in a warm process: `python -m benchmarks.warm < commands.json`.

Reads a list of `{"home": …, "warehouse": …, "arguments": […]}` and runs them one after the other in
this process, so that what comes after the first import of a district finds all libraries loaded:
its time is work. Prints a list with each one's `code`, `seconds` (the whole command, from its
arguments to its last printed line), `stages` (seconds by step of the Dagster run, in their order)
and `out`, what it printed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from typer.testing import CliRunner


def run(home: str, warehouse: str, arguments: list[str]) -> dict[str, Any]:
    """Run one command. home: ROSTER_HOME. warehouse: a URL, or empty for SQLite in the home."""
    from roster_pipeline.cli.main import app

    # An earlier command has left its own folders there.
    for variable in ("ROSTER_EXPECTATIONS", "DAGSTER_HOME"):
        os.environ.pop(variable, None)
    os.environ |= {"ROSTER_HOME": home, "ROSTER_WAREHOUSE_URL": warehouse}
    started = time.perf_counter()
    result = CliRunner().invoke(app, arguments)
    seconds = time.perf_counter() - started
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    stages = _stages() if arguments[0] == "import" else {}
    return {
        "code": result.exit_code,
        "seconds": seconds,
        "stages": stages,
        "out": result.stdout,
    }


def _stages() -> dict[str, float]:
    """How long each step of the newest run took."""
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        run = instance.get_runs(limit=1)[0]
        steps = instance.get_run_step_stats(run.run_id)
    return {
        step.step_key: step.end_time - step.start_time
        for step in sorted(steps, key=lambda step: step.start_time or 0)
        if step.start_time is not None and step.end_time is not None
    }


if __name__ == "__main__":
    print(json.dumps([run(**command) for command in json.load(sys.stdin)]))
