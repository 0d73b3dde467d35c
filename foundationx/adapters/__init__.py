"""Doors from other frameworks into ours."""
