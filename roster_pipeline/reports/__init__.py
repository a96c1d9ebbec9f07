"""What people read about an import and a district, as plain values and as text."""
