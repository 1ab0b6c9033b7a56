"""The base of every record, and the form in which it is shown.

Owns what all of them have in common. `document()` gives the JSON form with its `"schema": 1`.
"""

# No annotations from __future__: as texts, each would be compiled anew at every start.
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1

Salt = Annotated[str, Field(exclude_if=lambda value: not value, repr=False)]
"""Random, and nowhere but in the journal. The log has digests of what may hold a secret: with this in them, nobody who
has only a copy of the log can try what the secret is (G6). Empty in what an earlier version wrote."""


class Record(BaseModel):
    """Base of all records: frozen, and nothing in it that its class does not name."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        ser_json_bytes="base64",
        val_json_bytes="base64",
        # A command uses a few of the records, and building the validators of all is most of its start.
        defer_build=True,
        # Nearly every value is an identifier that is read once or twice: kept for later, 16,384 of them fill the memory
        # of a manager that lives long.
        cache_strings="keys",
    )

    def document(self) -> dict[str, Any]:
        """The JSON document of this record."""
        return {"schema": SCHEMA, **self.model_dump(mode="json")}
