"""What the commands do: they orchestrate, return results and never print."""
