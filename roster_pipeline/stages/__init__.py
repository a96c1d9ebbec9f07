"""One file per stage of an import: its settings model and its pure function, side by side."""
