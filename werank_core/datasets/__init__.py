"""Data sets: made from a seed, downloaded when asked, or brought along; counts asserted, splits fixed by a seed."""
