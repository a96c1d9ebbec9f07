"""How deliveries arrive: what lies in a landing zone, and the archive that keeps it."""
