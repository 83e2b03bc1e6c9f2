"""Readers of what people bring: graphs and images in the formats they have. Nothing is unpickled or trusted."""
