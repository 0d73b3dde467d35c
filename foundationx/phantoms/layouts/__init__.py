"""Layouts: the inverse of each reader. One file a reader, of the same name, found by it; see ``_request.py``."""
