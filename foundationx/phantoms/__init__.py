"""Generated chest radiographs with known truth, written in published formats: what the demo and the tests run on."""
