"""What every layer shares: settings, source definitions, errors, logging, the one clock.

Imports nothing else of this project.
"""
