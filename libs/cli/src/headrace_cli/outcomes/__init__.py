"""Outcomes from files, and the labels that they become."""
