"""Headrace side by side with its peers, on the same work in one go."""
