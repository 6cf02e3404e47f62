"""Pure decisions of the registry: no I/O, clock, random generator or logging in here."""
