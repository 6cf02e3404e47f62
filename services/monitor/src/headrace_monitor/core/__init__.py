"""Pure decisions of the monitor: no I/O, clock, dice or logging in here."""
