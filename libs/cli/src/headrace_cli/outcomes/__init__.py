"""Outcomes from files, and the labels that follow from them."""
