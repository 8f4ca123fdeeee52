"""One graph builder per model family, as llama.cpp has one file per model in src/models/."""
