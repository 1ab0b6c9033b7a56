"""The corpus uses the houses of the flows: a home, a target, people with keys, the real command."""

from tests.flows.conftest import house

__all__ = ["house"]
