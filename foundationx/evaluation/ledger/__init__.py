"""Harm ledger: what joining datasets did to each head, site by site, against runs that trained the head alone.

judge    differences, tests and verdicts, from predictions
read     predictions and sites of runs
absent   predictions on images of other datasets that are known not to have a head's class
table    the ledger as text, JSON and CSV
"""
