"""Commands beside `plan`: each module parses, calls a service, prints and exits."""
