"""Pure decisions of the feature service: no I/O, clock, random generator or logging in here."""
