"""Servers that can run a GGUF: where each is found, how it is started, what it lacks."""
