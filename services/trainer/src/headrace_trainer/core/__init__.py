"""Pure decisions of the trainer: no I/O, clock, random generator or logging in here."""
