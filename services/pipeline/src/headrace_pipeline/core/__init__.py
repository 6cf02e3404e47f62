"""Pure decisions of the pipeline service: no I/O, clock, random generator or logging in here."""
