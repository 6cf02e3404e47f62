"""Decides which versions exist, which of them is champion, and how a new one takes traffic."""
