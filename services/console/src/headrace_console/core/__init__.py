"""Pure decisions of console: no I/O, clock, random generator or logging in here."""
