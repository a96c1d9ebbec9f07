"""What an import's status and a record's outcome say to a person: the words of the report, the UI
and docs/statuses.md.
"""

from __future__ import annotations

from roster_pipeline.warehouse.ledger import Status

STATUS_WORDS: dict[Status, tuple[str, str]] = {
    "running": ("Running", "It has not ended yet; this is what is known so far."),
    "imported": ("Imported", "It was merged into the warehouse."),
    "unchanged": ("Unchanged", "There was nothing new in it; the warehouse was not touched."),
    "needs_school_mapping": (
        "Waits for schools to be mapped",
        "Nothing was merged; the warehouse is as it was.",
    ),
    "held": ("Held: waits for a person", "Nothing was merged; the warehouse is as it was."),
    "refused": (
        "Refused",
        "The delivery cannot be used. Nothing was imported; the warehouse is as it was.",
    ),
    "rejected": ("Rejected", "A person turned it down; the warehouse is as it was."),
    "superseded": ("Superseded", "A later delivery took its place before it was decided on."),
    "failed": (
        "Failed",
        "The import could not be carried out. Nothing was merged; the warehouse is as it was.",
    ),
    "undone": ("Undone", "It was imported, and later taken back."),
    "previewed": ("Previewed", "This is what it would do; nothing was written."),
}
"""What an import's status says: in short, and as a sentence."""

WHAT_TO_DO: dict[Status, str] = {
    "running": "Wait. One whose process is gone is marked as failed when the district's next "
    "import begins.",
    "imported": "Nothing, or mend what `roster findings IMPORT --causes` lists and deliver again.",
    "unchanged": "Nothing. Where something new was expected, the student information system has "
    "exported the same files again: look at the dates of its export. "
    "`roster import ID --force` takes them through all stages all the same.",
    "needs_school_mapping": "`roster schools ID` lists the schools the warehouse does not know, "
    "with suggestions: map each (`map ORG SCHOOL`), make it a new one (`new ORG`) or leave it out "
    "(`ignore ORG`), then `roster schools ID --run`. `auto_map` in the district's file decides "
    "from now on.",
    "held": "`roster show IMPORT` says why. Was it meant, such as a school that has closed: "
    "`roster approve IMPORT --reason TEXT`. Is the export at fault: `roster reject IMPORT --reason "
    "TEXT`, or simply have a whole one delivered, which takes its place.",
    "refused": "`roster findings IMPORT` says which file, and which row where it is one row. Have "
    "the export mended and delivered again.",
    "rejected": "Have the export mended and delivered again. The same files, imported by hand, are "
    "held again.",
    "superseded": "Nothing; look at the later import.",
    "failed": "`roster imports ID` says in its last column what went wrong, the run in the UI says "
    "more. It is not the district's fault. When the cause is gone: "
    "`roster import ID --from-import IMPORT`.",
    "undone": "Have the delivery mended before the next import: the one that was taken back is not "
    "imported again by itself, but the same fault may come with the next export.",
    "previewed": "`roster show IMPORT` has the numbers. The same command without `--preview` does "
    "it.",
}
"""What the data team does about an import of that status. IMPORT is its number, ID the district."""

OUTCOME_WORDS: dict[str, tuple[str, str]] = {
    "added": ("It is new in the warehouse.", "Nothing."),
    "updated": (
        "It was there and has changed; the version before is in the history.",
        "Nothing; `roster diff IMPORT IMPORT` shows what changed.",
    ),
    "unchanged": ("It is as it was.", "Nothing."),
    "restored": ("It was deleted and is there again.", "Nothing."),
    "removed": (
        "A row of a delta file says that it is to be deleted, and it was.",
        "Nothing.",
    ),
    "filtered": (
        "A filter rule, a role that is `ignore` or a school that is ignored leaves it out, or it "
        "hangs on a record that is left out so. It is no fault.",
        "Nothing; if it was to stay, change `filters`, `user_types` or the school's mapping. "
        "`roster filter-preview` tries a rule.",
    ),
    "skipped": (
        "It lacks an attribute that it must have.",
        "Fill it in, in the student information system; or change `data_requirements`.",
    ),
    "duplicate": (
        "It shares with another what no two may share, such as an e-mail.",
        "Give it one of its own; or change the policy of the district's own `uniqueness`.",
    ),
    "invalid": (
        "It cannot be read, or it leads to a record that is not there.",
        "Mend the root cause: `roster findings IMPORT --causes` lists those with the most first.",
    ),
    "deleted": (
        "It was active in the warehouse and is not in the delivery any more. It stays in its "
        "table with `active` false, and in the history.",
        "Nothing; if it was not meant, `roster undo IMPORT --reason TEXT`.",
    ),
    "kept": (
        "It was received but rejected (skipped, duplicate or invalid), so its last good version "
        "stays active. `stale_since` says since when.",
        "Mend what it was rejected for.",
    ),
}
"""What became of a record, and what the district or the data team does about it. The last two are
of records of the warehouse, beside the sum."""
