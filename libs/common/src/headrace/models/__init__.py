"""Models as data: their files and formats, engines that score rows, load checks, and digests of their content."""
