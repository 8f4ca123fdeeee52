"""Results as people and scripts read them: tables on a terminal, tab-separated values in a pipe.

The only part that imports rich, and only for a terminal.
"""
