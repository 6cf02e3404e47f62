"""Back-tests: asks a process for one, and shows what it found."""
