"""Generated chest radiographs with ground truth, written in published formats, for the demo and the tests.

phantom    one radiograph: ``anatomy``, ``findings``, ``render``
write      the four phantom datasets
copy       phantom copies of any card, in its layout (``layouts``)
"""
