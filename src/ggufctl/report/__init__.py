"""Results as plain values, ready for JSON: integers for bytes, nothing rounded, nothing cut.

`documents` holds the published schema of what is made here; a test keeps both in step, so that
printing JSON does not have to import pydantic.
"""

SCHEMA_VERSION = "1.0"
"""Of every document: the first number changes when a field is renamed, removed or re-defined."""
