"""What a data team sees of held and refused deliveries in headless Chromium, against `roster ui`,
and how a person approves a held one there."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as NotThere

from roster_pipeline_tests.conftest import Roster
from roster_pipeline_tests.end_to_end import pages
from roster_pipeline_tests.serving import LOCATION, serving

STUDENTS = 300


@pytest.mark.slow
@pytest.mark.skipif(pages.CHROMIUM is None, reason="there is no Chromium here")
def test_a_person_sees_what_was_refused_and_held_approves_it_in_the_launchpad_and_sees_the_merge(
    roster: Roster, home: Path, tmp_path: Path
) -> None:
    for district_id in ("oak", "maple"):
        roster("district", "add", district_id, "--name", district_id.title())
    assert roster("demo", "--students", STUDENTS).code == 0
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        # The UI takes seconds to start, in which two more deliveries come.
        starting = pool.submit(stack.enter_context, serving(home))
        assert roster("import", "oak", pages.to_be_refused(tmp_path, STUDENTS)).code == 4
        assert roster("import", "springfield", pages.to_be_held(tmp_path, STUDENTS)).code == 3
        address = starting.result().address
        page = stack.enter_context(pages.browser_page())

        pages.see_quality(page, address, "springfield")
        expect(pages.row(page, "compared with")).to_contain_text("import 1")
        rule = pages.row(page, "class_id leads nowhere").last.get_by_role("cell")
        expect(rule).to_have_text(
            ["skipped", "enrollment", "class_id leads nowhere", "5", "5", "3", "class_id_unknown"]
        )
        held_run = pages.row(page, "run").get_by_role("link").get_attribute("href")
        report = pages.row(page, "report").get_by_role("cell").nth(1).inner_text()
        pages.see_report(page, Path(report))
        config = pages.see_hold(page, address, "springfield")
        approval = _launch(page, address, config.replace("why it is right", "it has closed"))

        # While it runs, what it does not change.
        pages.see_graph(page, address)
        pages.see_plot(page, address)
        pages.see_held_run(page, f"{address}{held_run}")
        pages.see_refusal(page, address, "oak")
        pages.see_check(page, address, "complete_roster", "required_data_is_there", "oak")
        expect(page.get_by_text("Not reached: import 2 was refused before")).to_be_visible()
        expect(page.get_by_text("Execution Failed (0)", exact=True)).to_be_visible()
        pages.see_quality(page, address, "oak")
        expect(pages.row(page, "status")).to_contain_text("Refused. In users.csv a quote is opened")
        pages.see_nothing_yet(page, address, "maple")

        page.goto(approval)
        expect(page.get_by_text('Finished execution of run for "approve_import".')).to_be_visible()
        page.goto(f"{address}/assets/warehouse/students?view=partitions&partition=springfield")
        expect(page.get_by_role("link", name="approve_import").first).to_be_visible()
        deleted = pages.row(page, "deleted").get_by_role("cell").nth(1).inner_text()

    approved = roster("show", 3, "--format", "json").json()
    assert approved["status"] == "imported"
    assert approved["counts"]["student"]["deleted"] == int(deleted) > 100


def _launch(page: Page, address: str, config: str) -> str:
    """Launch the approval of an import of springfield with this config; the run's page."""
    page.goto(f"{address}/locations/{LOCATION}/jobs/approve_import/playground")
    partition = page.get_by_placeholder("Partition")
    # What was typed is gone when the partitions come after it and the field is drawn anew.
    for last in (False, False, True):
        partition.click()
        partition.fill("")
        partition.press_sequentially("springfield")
        try:
            page.get_by_role("menuitem", name="springfield").click(timeout=40_000)
            break
        except NotThere:
            if last:
                raise
    page.locator(".CodeMirror").first.click()
    page.keyboard.press("Control+a")
    # On one line, which the editor neither indents nor completes.
    page.keyboard.insert_text(config)
    # So the page has taken the new text in: what it leaves out can be filled in.
    expect(page.get_by_role("button", name="Scaffold all default config")).to_be_enabled()
    expect(page.get_by_text("No errors")).to_be_visible()
    launch = page.get_by_role("button", name="Launch Run")
    expect(launch).to_be_enabled()
    launch.click()
    page.wait_for_url(re.compile(r"/runs/[0-9a-f-]+"))
    return page.url
