"""A person approves a held import in the browser: sees the hold, launches the approval, sees the
merge. In headless Chromium, against `roster ui`."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from roster_pipeline_tests.conftest import Roster
from roster_pipeline_tests.end_to_end.deliveries import district, schools, without_school, written
from roster_pipeline_tests.serving import LOCATION, serving

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PATIENCE_MS = 120_000
"""How long a page, or a run that it shows, may take on a slow machine."""


@contextmanager
def browser_page() -> Iterator[Page]:
    """An empty page of a browser. As long as it is there, this thread has an event loop, in which
    Dagster cannot run."""
    # Chromium keeps root out of its own sandbox.
    arguments = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_a_person_sees_the_hold_approves_it_in_the_launchpad_and_sees_the_merge(
    roster: Roster, home: Path, tmp_path: Path
) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    roster("district", "add", "oak", "--name", "Oak County")
    frames = district(300)
    assert roster("import", "oak", written(tmp_path, "first", frames)).code == 0
    second = written(tmp_path, "second", without_school(frames, schools(frames)[0]))
    assert roster("import", "oak", second).code == 3

    with serving(home) as ui, browser_page() as page:
        page.goto(f"{ui.address}/assets/sync_plan?view=checks&checkDetail=within_hold_thresholds")
        expect(page.get_by_text("missing from orgs.csv").first).to_be_visible()

        page.goto(f"{ui.address}/locations/{LOCATION}/jobs/approve_import/playground")
        launch = page.get_by_role("button", name="Launch Run")
        partition = page.get_by_placeholder("Partition")
        partition.click()
        partition.press_sequentially("oak")
        page.get_by_role("menuitem", name="oak").click()
        page.locator(".CodeMirror").first.click()
        page.keyboard.press("Control+a")
        # On one line, which the editor neither indents nor completes.
        page.keyboard.insert_text(
            "ops: {landing_snapshot: {config: {resume: 2, reason: the school has closed}}}"
        )
        # So the page has taken the new text in: what it leaves out can be filled in.
        expect(page.get_by_role("button", name="Scaffold all default config")).to_be_enabled()
        expect(page.get_by_text("No errors")).to_be_visible()
        expect(launch).to_be_enabled()
        launch.click()
        page.wait_for_url(re.compile(r"/runs/[0-9a-f-]+"))
        expect(page.get_by_text('Finished execution of run for "approve_import".')).to_be_visible()

        page.goto(f"{ui.address}/assets/warehouse/students?view=partitions&partition=oak")
        expect(page.get_by_role("link", name="approve_import").first).to_be_visible()

    approved = roster("show", 2, "--format", "json").json()
    assert approved["status"] == "imported"
    assert approved["counts"]["student"]["deleted"] > 100
