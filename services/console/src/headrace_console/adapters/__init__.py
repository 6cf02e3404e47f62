"""Topics, files and HTTP of the console."""
