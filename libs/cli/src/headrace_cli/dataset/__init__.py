"""Point-in-time rows as files: the records read are kept with them, so that a second build reads only new ones."""
