"""CSV for people who open it in a spreadsheet: nothing in it can run as a formula."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_FORMULA = r"^([=+\-@\t\r])"


def spreadsheet_csv(frame: pd.DataFrame) -> str:
    """A frame as CSV text; a text that begins like a formula gets a `'` in front."""
    safe = {
        name: frame[name]
        if pd.api.types.is_numeric_dtype(frame[name])
        else pc.replace_substring_regex(
            pa.array(frame[name], pa.string()), _FORMULA, r"'\1"
        ).to_pandas()
        for name in frame.columns
    }
    return pd.DataFrame(safe, columns=frame.columns).to_csv(index=False)
