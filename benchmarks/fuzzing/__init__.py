"""What ``benchmarks/fuzz_inputs.py`` is made of: mutations, inputs by kind, and the process that reads them."""
