"""Pure decisions of the gateway: no I/O, clock, random generator or logging in here."""
