"""WERank Lab's engine: does a network lose rank, what does regularization do about it, does it matter for accuracy?"""

__version__ = "0.1.0"
