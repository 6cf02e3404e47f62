"""Pure decisions of the registry: no I/O, clock, dice or logging in here."""
