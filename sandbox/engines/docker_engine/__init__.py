"""The engine `docker`: sandboxes as containers of any Docker Engine that its API reaches, local or remote.

Owns everything that knows the `docker` SDK; no other package imports it. A base is an image layer, a
snapshot is a committed image, everything carries labels. Needs no host mounts and no rights but the API's.
"""

from sandbox.engines.docker_engine.engine import DockerEngine

__all__ = ["DockerEngine"]
