"""Reading a delivery beside the bare cost of its bytes: `python benchmarks/read_package.py`.

Makes a district, writes its package, and times in one run, each the median of several:
- floor: `pyarrow.csv` reads the unpacked files, nothing else;
- ours: from the zip to typed frames with all checks of the standard (open, read, parse).
The peak of memory is measured in a process of its own, as the growth over the imported libraries.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.csv as pacsv

from roster_pipeline.oneroster.delivery import read_delivery
from roster_pipeline.oneroster.effective import apply_delivery
from roster_pipeline.oneroster.package import open_package
from roster_pipeline.oneroster.writer import write_package
from roster_pipeline.sample import make_district
from roster_pipeline.stages.parse import ParseSettings, parse


def floor(folder: Path) -> None:
    """What cannot be saved: the bytes of all files through pyarrow's reader."""
    for path in folder.glob("*.csv"):
        pacsv.read_csv(path)


def ours(package: Path) -> None:
    """From the zip to frames with the standard's checks."""
    parse(apply_delivery(read_delivery(open_package([package])), {}), ParseSettings())


def median_seconds(work: Callable[[Path], None], path: Path, runs: int) -> float:
    """The median time of several runs, after one that is not counted."""
    times = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        work(path)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def peak_growth(package: Path) -> int:
    """Bytes by which reading a package raises a fresh process' peak of memory."""
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "import re, read_package as b; Path('/proc/self/clear_refs').write_text('5');"
        "status = Path('/proc/self/status');"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', status.read_text())[1]);"
        "before = peak(); b.ours(Path(sys.argv[2])); print((peak() - before) * 1024)"
    )
    here = str(Path(__file__).parent)
    out = subprocess.run(
        [sys.executable, "-c", code, here, str(package)], check=True, capture_output=True, text=True
    )
    return int(out.stdout)


def main() -> None:
    """Run the benchmark and print its figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--students", type=int, default=100_000)
    options.add_argument("--runs", type=int, default=5)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, package = Path(name) / "files", Path(name) / "OneRoster.zip"
        frames = make_district(chosen.students)
        write_package(folder, frames)
        write_package(package, frames)
        size = sum(path.stat().st_size for path in folder.glob("*.csv"))
        bare = median_seconds(floor, folder, chosen.runs)
        whole = median_seconds(ours, package, chosen.runs)
        memory = peak_growth(package)
    print(f"{chosen.students:,} students, {size / 1e6:.0f} MB of CSV")
    print(f"bare pyarrow.csv     {bare:6.2f} s")
    print(f"zip to checked frames{whole:6.2f} s   {whole / bare:.1f} times the bare read")
    print(f"peak of memory       {memory / 1e6:6.0f} MB  {memory / size:.1f} times the files")


if __name__ == "__main__":
    main()
