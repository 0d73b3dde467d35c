"""A task of another package: one point per class. Nothing of foundationx names it."""
