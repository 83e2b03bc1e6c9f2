"""Stacked training of every experiment; nothing here knows of the store or the browser."""
