"""Holds a downloaded dataset against its card."""
