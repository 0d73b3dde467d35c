"""What the UniHead heads of all tasks are built of: scattered points (``docs/methods/unihead.md``). It is no task."""
