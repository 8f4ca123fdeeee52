"""A stand-in for Modal's API on loopback, for the real `modal` client and its container code."""
