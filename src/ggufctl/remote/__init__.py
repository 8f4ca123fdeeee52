"""What runs beside the engine, in a container or here: the standard library and our core alone."""
