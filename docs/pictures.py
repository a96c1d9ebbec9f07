"""Makes the pictures of this folder anew: what `roster demo` prints, and what a data team sees of
it in `roster ui` after a delivery that is refused and one that is held.

Run by `make pictures`, in the environment of the tests, with Chromium on the PATH. It works in a
home of its own and looks at each page as the test of the browser does: a picture is taken once what
matters can be read.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import tempfile
from pathlib import Path

from playwright.sync_api import Page
from rich.console import Console
from rich.text import Text

from roster_pipeline_tests.conftest import VARIABLES
from roster_pipeline_tests.end_to_end import pages
from roster_pipeline_tests.serving import ROOT, ROSTER, serving

PICTURES = Path(__file__).parent / "pictures"
STUDENTS = 1200
DISTRICT = "springfield"
WIDTH = 92
SETTLED_MS = 1000
"""How long curves and boxes may move after the last answer of the server."""


def roster(home: Path, *arguments: object, code: int = 0) -> str:
    """What a command prints, in colour. Raises RuntimeError when its exit code is another."""
    env = {
        **os.environ,
        "ROSTER_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "FORCE_COLOR": "1",
        "COLUMNS": str(WIDTH),
    }
    command = [*ROSTER, *map(str, arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode != code:
        raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def draw_terminal(printed: str, path: Path) -> None:
    """Write the summary of `roster demo` as an SVG file that loads nothing from elsewhere."""
    start, end = printed.index("Import 1"), printed.index("Done in")
    console = Console(record=True, file=io.StringIO(), width=WIDTH, color_system="truecolor")
    console.print(Text.from_ansi(printed[start:end].strip()))
    drawn = console.export_svg(title="roster demo")
    path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL))


def main() -> None:
    """Take all pictures."""
    PICTURES.mkdir(exist_ok=True)
    # Whatever else is set up on this machine.
    os.environ.update(dict.fromkeys(VARIABLES, ""))
    with tempfile.TemporaryDirectory(prefix="roster-") as folder:
        home = Path(folder) / "home"
        draw_terminal(roster(home, "demo", "--students", STUDENTS), PICTURES / "demo.svg")
        with serving(home, "--no-daemon") as ui, pages.browser_page() as page:
            page.goto(ui.address)
            page.get_by_role("button", name="Hide navigation").click()
            pages.see_graph(page, ui.address)
            take(page, "graph", 850)
            page.set_viewport_size({"width": 1280, "height": 1000})
            refused = pages.to_be_refused(Path(folder), STUDENTS)
            roster(home, "import", DISTRICT, refused, code=4)
            pages.see_refusal(page, ui.address, DISTRICT)
            take(page, "refused", 720)
            held = pages.to_be_held(Path(folder), STUDENTS)
            roster(home, "import", DISTRICT, held, code=3)
            page.set_viewport_size({"width": 1440, "height": 1080})
            pages.see_quality(page, ui.address, DISTRICT)
            run = pages.row(page, "run").get_by_role("link").get_attribute("href")
            report = pages.row(page, "report").get_by_role("cell").nth(1).inner_text()
            take(page, "quality", 1080)
            page.set_viewport_size({"width": 1280, "height": 1000})
            pages.see_plot(page, ui.address)
            take(page, "plot", 670)
            page.set_viewport_size({"width": 1280, "height": 760})
            pages.see_held_run(page, f"{ui.address}{run}")
            # Without the bars of the steps there is room for what is said.
            page.get_by_role("button", name="expand_arrows").last.click()
            take(page, "held", 590)
            pages.see_report(page, Path(report))
            take(page, "report", 760)


def take(page: Page, name: str, height: int) -> None:
    """A picture of what the window shows, from its top to this height, once nothing moves."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(SETTLED_MS)
    width = page.evaluate("innerWidth")
    page.screenshot(
        path=PICTURES / f"{name}.png", clip={"x": 0, "y": 0, "width": width, "height": height}
    )


if __name__ == "__main__":
    main()
