"""Tables that users bring, row by row."""
