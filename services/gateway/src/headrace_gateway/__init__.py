"""Decides what may be asked over HTTP, and turns decisions into answers."""
