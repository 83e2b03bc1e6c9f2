"""Side-by-side measurements: alternating in one process, reported as ratios; never asserted in tests."""
