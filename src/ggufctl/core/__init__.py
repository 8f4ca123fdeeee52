"""Pure core: bytes and dataclasses in, dataclasses out. Standard library only, no I/O."""
