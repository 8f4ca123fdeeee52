"""What llama.cpp's own allocator did with real and synthetic models, and how to read it."""
