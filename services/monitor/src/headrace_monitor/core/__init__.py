"""Pure decisions of the monitor: no I/O, clock, random numbers or logging in here."""
