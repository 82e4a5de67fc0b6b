"""The offices' rules, in Great Expectations' vocabulary, and the runner that executes them."""

import os

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
