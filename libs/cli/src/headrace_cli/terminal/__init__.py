"""Input and output of the terminal: tables, numbers, reasons, waiting."""
