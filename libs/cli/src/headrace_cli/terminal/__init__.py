"""What a terminal shows and takes: tables, numbers, reasons, waiting."""
