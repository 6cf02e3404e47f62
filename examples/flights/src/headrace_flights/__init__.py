"""Will this flight be late? A year of real departures from New York, as a Headrace project."""
