"""Composes the arrows: one stream's way from its source to core, and the whole night."""
