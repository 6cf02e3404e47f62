"""One file per outside thing; the only room that imports faust."""
