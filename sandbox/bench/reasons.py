"""Why goals are not met where no floor of the machine alone forbids it, as data: by engine and goal.

Owns the words. Each names the decision that has the measurements. One that no published run needs any more fails a
test, as does a goal that is published as not met without one.
"""

from __future__ import annotations

WHY: dict[tuple[str, str], str] = {}
