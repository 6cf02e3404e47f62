"""Projects: how they are applied, planned and released."""
