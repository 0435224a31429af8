"""Tells schemathesis what an event of a stream is. Its schema in openapi.yaml is that of the event's data, as generators
of clients read it; schemathesis reads it as that of the event itself.
"""

from typing import Any

import schemathesis


@schemathesis.hook
def before_load_schema(_context: schemathesis.HookContext, contract: dict[str, Any]) -> None:
    media = contract["components"]["responses"]["Stream"]["content"]["text/event-stream"]
    json = {"contentMediaType": "application/json", "contentSchema": media["schema"]}
    media["schema"] = {
        "type": "object",
        "properties": {"data": {"type": "string", "if": {"const": "[DONE]"}, "else": json}},
        "required": ["data"],
    }
    del media["examples"]  # of the data
