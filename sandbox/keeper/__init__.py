"""The process that stands beside each sandbox of the native engine: it starts its container and runs commands in it.

A program of its own: the standard library alone, nothing else of the package, so that it starts fast and stays small.
See docs/decisions/0014-a-keeper-beside-each-sandbox.md for why it is one, and what keeps the agent from it.
"""
