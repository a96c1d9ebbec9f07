"""CSV for people who open it in a spreadsheet: nothing in it can run as a formula."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_FORMULA = r"^([=+\-@\t\r])"


def spreadsheet_csv(frame: pd.DataFrame) -> str:
    """A frame as CSV text.

    A text that begins like a formula gets a `'` in front; a carriage return, which would begin a
    row of its own, becomes a line feed.
    """
    safe = {
        name: frame[name] if pd.api.types.is_numeric_dtype(frame[name]) else _safe(frame[name])
        for name in frame.columns
    }
    return pd.DataFrame(safe, columns=frame.columns).to_csv(index=False)


def _safe(values: pd.Series) -> pd.Series[str]:
    marked = pc.replace_substring_regex(pa.array(values, pa.string()), _FORMULA, r"'\1")
    plain: pd.Series[str] = pc.replace_substring_regex(marked, "\r\n?", "\n").to_pandas()
    return plain
