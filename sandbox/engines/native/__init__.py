"""The native engine: an OCI runtime on overlayfs, without a daemon. See `engine` for how its parts work together."""

from sandbox.engines.native.engine import NativeEngine

__all__ = ["NativeEngine"]
