"""Bytes of agents on their way to the user's streams: exact into pipes and files, escaped on a terminal.

Owns that rule (T12). Characters that come in pieces are put together first.
"""

from __future__ import annotations

import codecs
import sys
from typing import IO

from sandbox.terminal import escape


class Passage:
    """One of the user's streams, written to by several of the agent's."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._escaped = stream.isatty()
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._at_line_start = True

    def write(self, name: str, data: bytes) -> None:
        """The next bytes of the agent's stream `name`."""
        if not data:
            return
        self._at_line_start = data.endswith(b"\n")
        if self._escaped:
            decoder = self._decoders.setdefault(name, codecs.getincrementaldecoder("utf-8")("surrogateescape"))
            # Most programs end lines on a terminal with both; the return alone is what could hide a line.
            text = decoder.decode(data).replace("\r\n", "\n")
            self._stream.write(escape(text, keep="\n\t"))
            self._stream.flush()
            return
        self._stream.flush()
        self._stream.buffer.write(data)  # type: ignore[attr-defined]
        self._stream.buffer.flush()  # type: ignore[attr-defined]

    def end_line(self) -> None:
        """Begin a new line if the last one is not ended."""
        if not self._at_line_start:
            self._stream.write("\n")
            self._stream.flush()
            self._at_line_start = True


class Both:
    """A command's two streams on the user's own two."""

    def __init__(self) -> None:
        self._passages = {"stdout": Passage(sys.stdout), "stderr": Passage(sys.stderr)}

    def __call__(self, stream: str, data: bytes) -> None:
        self._passages[stream].write(stream, data)
