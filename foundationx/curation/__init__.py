"""Curation: a download is checked against its card (``check``), a run for leaks between its splits (``audit``).

Both report :class:`~foundationx.curation.issues.Issue` objects, printed and written in one style.
"""
