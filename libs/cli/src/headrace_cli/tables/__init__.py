"""Users' tables, read row by row."""
