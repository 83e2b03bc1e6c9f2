"""Closed forms the measurements are held against: numpy only, so a figure can draw them without torch."""
