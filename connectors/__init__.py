"""Readers by shape of access, and one folder with a definition per agency system."""
