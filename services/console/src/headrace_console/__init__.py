"""Decides what console decides."""
