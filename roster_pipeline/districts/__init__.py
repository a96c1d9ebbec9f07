"""A district's file: its settings as one model, read from YAML with errors a person can mend."""
