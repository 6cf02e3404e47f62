"""Projects: applied, planned, released."""
