"""Pure decisions of the trainer: no I/O, clock, dice or logging in here."""
