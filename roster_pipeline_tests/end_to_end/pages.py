"""The pages that a data team works with, opened in headless Chromium and looked at: for the test
that drives the browser through, and for the pictures of docs/.

Each function opens a page, waits until what matters can be read on it, and fails when it cannot.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page, expect, sync_playwright

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.oneroster.standard import VERSIONS
from roster_pipeline.oneroster.writer import csv_bytes, write_package
from roster_pipeline.sample import make_district, plant_faults
from roster_pipeline_tests.end_to_end.deliveries import schools, without_school, written
from roster_pipeline_tests.serving import LOCATION, STAGES

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PATIENCE_MS = 120_000
"""How long a page, or a run that it shows, may take on a slow machine."""

FAULTS = {"missing_email": 6, "missing_birth_date": 3, "duplicate_email": 2, "unknown_class": 5}
QUOTED_ROW = 42
DRAWN = """canvas => {
    const dots = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return dots.some((blue, i) => i % 4 == 2 && blue - dots[i - 2] > 80);
}"""
"""Whether there is a curve, which is blue, and not only a frame with numbers."""


@contextmanager
def browser_page() -> Iterator[Page]:
    """An empty page of a browser. As long as it is there, this thread has an event loop, in which
    Dagster cannot run."""
    expect.set_options(timeout=PATIENCE_MS)
    # Chromium keeps root out of its own sandbox.
    arguments = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


def to_be_held(folder: Path, students: int) -> Path:
    """A delivery after that of `roster demo`: a school was not ticked in the export, and there are
    other faults."""
    frames = plant_faults(make_district(students), FAULTS).frames
    return written(folder, "held", without_school(frames, schools(frames)[0]))


def to_be_refused(folder: Path, students: int) -> Path:
    """A delivery in which a quote is opened and not closed."""
    frames = make_district(students)
    lines = csv_bytes(frames["users"], VERSIONS["1.1"], "users").split(b"\n")
    lines[QUOTED_ROW - 1] = lines[QUOTED_ROW - 1].replace(b",", b',"', 1)
    path = folder / "refused.zip"
    write_package(path, frames, replaced={"users": b"\n".join(lines)})
    return path


def see_graph(page: Page, address: str) -> None:
    """The assets of an import: every stage, and every table of the warehouse."""
    page.goto(f"{address}/locations/{LOCATION}/asset-groups/import/lineage")
    for name in (*STAGES, *(t.table for t in ENROLLMENT_TYPES.values())):
        # Dagster shortens the longest.
        expect(page.get_by_text(re.compile(f"^{name}$|^{name[:10]}…"))).to_be_visible()


def see_check(page: Page, address: str, asset: str, check: str, district_id: str) -> None:
    """What a check says of a district."""
    page.goto(f"{address}/assets/{asset}?view=checks&checkDetail={check}")
    tabs = page.get_by_role("tablist").filter(has_text="Execution history")
    tabs.get_by_role("tab", name="Partitions").click()
    page.get_by_text(district_id, exact=True).filter(visible=True).last.click()
    expect(page.get_by_text("Latest execution", exact=True)).to_be_visible()


def see_refusal(page: Page, address: str, district_id: str) -> None:
    """The check of a delivery that was refused: which row of which file to mend."""
    see_check(page, address, "landing_snapshot", "delivery_is_accepted", district_id)
    expect(page.get_by_text(f"Close the quote in row {QUOTED_ROW}")).to_be_visible()
    expect(page.get_by_text("Failed (1)", exact=True)).to_be_visible()


def see_hold(page: Page, address: str, district_id: str) -> str:
    """The check of a plan that is held: why, and how to decide. The config with which it is
    approved."""
    see_check(page, address, "sync_plan", "within_hold_thresholds", district_id)
    expect(page.get_by_text("missing from orgs.csv").first).to_be_visible()
    shown = page.get_by_text("launch the job approve_import").inner_text()
    found = re.search(r"ops: \{landing_snapshot: .*?\}{3}", shown)
    assert found is not None, shown
    return found[0]


def see_quality(page: Page, address: str, district_id: str) -> None:
    """What `data_quality` says of a district's last import."""
    page.goto(f"{address}/assets/data_quality?view=partitions&partition={district_id}")
    expect(row(page, "score, of 100")).to_be_visible()


def row(page: Page, key: str) -> Locator:
    """The line of a table with a cell that says just this."""
    return page.get_by_role("row").filter(has=page.get_by_role("cell", name=key, exact=True))


def see_nothing_yet(page: Page, address: str, district_id: str) -> None:
    """What `data_quality` says of a district before its first import."""
    page.goto(f"{address}/assets/data_quality?view=partitions&partition={district_id}")
    expect(page.get_by_text("No metadata entries")).to_be_visible()


def see_plot(page: Page, address: str) -> None:
    """The plots of `data_quality` over time, that of the score among them."""
    page.goto(f"{address}/assets/data_quality")
    page.get_by_role("button", name="Plots").click()
    page.get_by_role("button", name="Events").click()
    plot = page.get_by_text("score, of 100", exact=True).locator("xpath=../..").locator("canvas")
    plot.scroll_into_view_if_needed()
    page.wait_for_function(DRAWN, arg=plot.element_handle())


def see_held_run(page: Page, url: str) -> None:
    """The run of an import that is held: it has succeeded, went no further than the plan, and says
    why."""
    page.goto(url)
    expect(page.get_by_text("Success", exact=True)).to_be_visible()
    expect(page.get_by_text("missing from orgs.csv").first).to_be_visible()
    expect(page.get_by_text('Skipped execution of step "warehouse".')).to_be_visible()


def see_report(page: Page, report: Path) -> None:
    """The report of an import that is held."""
    page.goto(report.as_uri())
    expect(page.get_by_role("heading", name="Why it waits, and what to do")).to_be_visible()
    expect(page.get_by_text("is missing from orgs.csv.")).to_be_visible()
    expect(page.get_by_role("img", name="Active records by type")).to_be_visible()
