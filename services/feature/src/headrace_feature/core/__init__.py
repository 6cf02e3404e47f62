"""Pure decisions of the feature service: no I/O, clock, dice or logging in here."""
