"""The offices' rules, in Great Expectations' vocabulary, and the runner that executes them."""
