"""Data requirements: which attributes a record must have, by Great Expectations 1.x.

The suites in `expectations/*.json` say per attribute whether a record that lacks it is left out
(`skip`) or only told (`report`); a district's settings may change each of them (design rule 4.5).
Great Expectations takes seconds to import, so it is imported where it validates and nowhere else.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BeforeValidator, Field

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.findings import Outcome, concat_findings, tell_records
from roster_pipeline.roster import Roster
from roster_pipeline.stages.section import Section

OnMissing = Annotated[
    Literal["skip", "report", "ignore"],
    # `off` is the word people look for; without quotes YAML makes False of it.
    BeforeValidator(lambda value: "ignore" if value is False or value == "off" else value),
]
NOT_NULL = "expect_column_values_to_not_be_null"


class DataRequirementSettings(Section):
    """By enrollment type and attribute: skip, report or ignore; the suites' own where not told."""

    data_requirements: Mapping[str, Mapping[str, OnMissing]] = Field(default_factory=dict)
    """By enrollment type and attribute, what becomes of a record that lacks it: `skip` leaves the
    record out, `report` takes it in and tells, `ignore` does neither."""


@dataclass(frozen=True)
class Suites:
    """The suites by enrollment type, as their JSON files say."""

    by_type: Mapping[str, Mapping[str, Any]]


class SuiteError(Exception):
    """A suite in `expectations/` is not what it should be; says which file and why."""


def load_suites(folder: Path) -> Suites:
    """Read `<enrollment type>.json` suites. Raises SuiteError, naming the file."""
    by_type: dict[str, Mapping[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        if path.stem not in ENROLLMENT_TYPES:
            raise SuiteError(
                f"{path}: there is no enrollment type {path.stem!r}; "
                f"allowed: {', '.join(ENROLLMENT_TYPES)}"
            )
        try:
            by_type[path.stem] = json.loads(path.read_text())
        except json.JSONDecodeError as error:
            raise SuiteError(f"{path}: not valid JSON, {error}") from error
    if not by_type:
        raise SuiteError(f"{folder}: no expectation suites (*.json) there")
    return Suites(by_type)


def require_data(roster: Roster, settings: DataRequirementSettings, suites: Suites) -> Outcome:
    """Tell each record that lacks an attribute, and end as `skipped` those that may not lack it."""
    told: list[pd.DataFrame] = []
    for name in ENROLLMENT_TYPES:
        frame = roster.frames[name]
        if frame.empty:
            continue
        suite = suites.by_type.get(name, {"expectations": []})
        # An attribute these files cannot have at all is told by the attribute mapping.
        expectations = [
            e
            for e in _effective(name, suite, settings)
            if e["kwargs"]["column"] in roster.sources[name]
            or e["kwargs"]["column"] not in frame.columns
        ]
        skip = pd.Series(False, index=frame.index)
        for failure in _validate(frame, f"{name} of expectations/{name}.json", expectations):
            records = frame.iloc[failure.positions]
            skips = failure.meta["on_missing"] == "skip"
            told.append(
                tell_records(
                    failure.meta["code"],
                    name,
                    records,
                    failure.column,
                    roster.sources[name][failure.column],
                    severity="skipped" if skips else "reported",
                )
            )
            if skips:
                skip.iloc[failure.positions] = True
        roster = roster.end(name, skip, "skipped")
    return Outcome(roster, concat_findings(told))


def _effective(
    name: str, suite: Mapping[str, Any], settings: DataRequirementSettings
) -> list[dict[str, Any]]:
    """The suite's expectations with the district's choices, and a requirement the suite does not
    have added. skip and report say what becomes of a record without the attribute; ignore leaves
    out whatever the suite expects of it."""
    chosen = settings.data_requirements.get(name, {})
    expectations = [
        _with_choice(e, chosen.get(e["kwargs"]["column"], e["meta"]["on_missing"]))
        if e["type"] == NOT_NULL or chosen.get(e["kwargs"]["column"]) == "ignore"
        else e
        for e in suite["expectations"]
    ]
    required = {e["kwargs"]["column"] for e in expectations if e["type"] == NOT_NULL}
    expectations += [
        _with_choice(_not_null(column), choice)
        for column, choice in chosen.items()
        if column not in required
    ]
    return [e for e in expectations if e["meta"]["on_missing"] != "ignore"]


def _with_choice(expectation: Mapping[str, Any], on_missing: str) -> dict[str, Any]:
    return {**expectation, "meta": {**expectation["meta"], "on_missing": on_missing}}


def _not_null(column: str) -> dict[str, Any]:
    return {
        "type": NOT_NULL,
        "kwargs": {"column": column},
        "meta": {"code": f"{column}_missing"},
    }


@dataclass(frozen=True)
class _Failure:
    column: str
    meta: Mapping[str, Any]
    positions: list[int]


def _validate(
    frame: pd.DataFrame, suite_name: str, expectations: list[dict[str, Any]]
) -> list[_Failure]:
    """Validate a frame; positions of the failing rows by expectation.

    Great Expectations drops expectations it does not know without a word, and reports a missing
    column in the result only; both raise SuiteError here.
    """
    if not expectations:
        return []
    with _great_expectations() as gx:
        suite = gx.ExpectationSuite(name=suite_name, expectations=expectations)
        if len(suite.expectations) != len(expectations):
            known = [expectation.meta for expectation in suite.expectations]
            unknown = [e for e in expectations if e["meta"] not in known]
            raise SuiteError(
                f"{suite_name}: not known to Great Expectations (look for a misspelt type or "
                "severity; severities are critical, warning, info): "
                + "; ".join(
                    f"{e['type']} of {e['kwargs']['column']}, severity {e.get('severity')}"
                    for e in unknown
                )
            )
        open_questions = [e for e in expectations if not _is_met(frame, e)]
        if not open_questions:
            return []
        batch = _frames(gx).get_batch({"dataframe": _handed_over(frame, open_questions)})
        results = batch.validate(
            gx.ExpectationSuite(name=suite_name, expectations=open_questions),
            result_format={
                "result_format": "COMPLETE",
                "exclude_unexpected_values": True,
                "return_unexpected_index_query": False,
            },
        ).results
    failures = []
    for result in results:
        config = result.expectation_config
        if "unexpected_index_list" not in result.result and not result.success:
            raise SuiteError(
                f"{suite_name}: {config.type} on {config.kwargs['column']!r} could not be evaluated"
            )
        positions = result.result.get("unexpected_index_list") or []
        if positions:
            failures.append(_Failure(config.kwargs["column"], config.meta, positions))
    return failures


def _is_met(frame: pd.DataFrame, expectation: Mapping[str, Any]) -> bool:
    """Whether only a value is asked for, and each record has one: to find that out by Great
    Expectations takes longer than all else that is done with a small delivery."""
    column = expectation["kwargs"]["column"]
    return (
        expectation["type"] == NOT_NULL and column in frame and not bool(frame[column].isna().any())
    )


def _handed_over(frame: pd.DataFrame, expectations: list[dict[str, Any]]) -> pd.DataFrame:
    """Of a frame, what the expectations ask for: of a column that must only be there, whether it
    is (1.0, else NaN).

    Great Expectations hashes every value it is given, twice, which costs ten times the validation.
    The index is unnamed and positional: with a named one, or with `unexpected_index_column_names`,
    it is some thirty times slower.
    """
    by_value = {e["kwargs"]["column"] for e in expectations if e["type"] != NOT_NULL}
    asked = dict.fromkeys(e["kwargs"]["column"] for e in expectations)
    columns = {
        name: frame[name].array
        if name in by_value
        else np.where(frame[name].isna().to_numpy(bool), np.nan, 1.0)
        for name in asked
        if name in frame.columns
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(len(frame)))


@cache
def _frames(gx: Any) -> Any:
    """What makes a batch of a frame, one a process. Its context is without Data Docs (they print
    values, and each leaves a folder behind) and without progress bars."""
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
    )

    defaults = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    config = DataContextConfig(store_backend_defaults=defaults)
    context = gx.get_context(mode="ephemeral", project_config=config)
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("roster").add_dataframe_asset("frame")
    return asset.add_batch_definition_whole_dataframe("all")


@contextmanager
def _great_expectations() -> Iterator[Any]:
    """The library, quiet and without its telemetry."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _stand_ins():
                import great_expectations as gx

            yield gx
    finally:
        logger.setLevel(level)


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Let what is imported meanwhile not load the libraries that only expectations about
    distributions and their charts work with: two fifths of the time Great Expectations takes to
    load. Those expectations judge a column as a whole, so that none can say which record fails."""
    absent = {"scipy.stats", "altair"} - sys.modules.keys()
    sys.modules.update((name, ModuleType(name)) for name in absent)
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
