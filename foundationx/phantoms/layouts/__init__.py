"""Layouts: the inverse of each reader. One file per reader, with the reader's name; see ``_context.py``."""
