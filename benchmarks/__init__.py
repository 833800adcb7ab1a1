"""How fast, compared with what people would install instead. `python -m benchmarks.run`."""
