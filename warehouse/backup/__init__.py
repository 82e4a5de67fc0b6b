"""Backups of a home: what is in one (`copy`, `manifest`), where they are kept (`repository`), and
its keys, which are kept apart (`keys`). `pipeline/backup.py` puts them together."""
