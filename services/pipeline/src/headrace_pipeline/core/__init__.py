"""Pure decisions of the pipeline service: no I/O, clock, dice or logging in here."""
