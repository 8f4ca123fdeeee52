"""A day of serving on this machine in accelerated time; `python -m tests.soak` runs it."""
