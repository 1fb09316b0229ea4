"""A client of the Model Context Protocol, by the official SDK.

Reads one JSON object from stdin: how to start the server, and what to do with it, step by step.
Prints one JSON array: what came of each step.
"""

import json
import sys

import anyio
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client


def plain(value):
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


async def call(client, step):
    told = []
    scope = anyio.CancelScope()

    async def progress(done, total, message):
        told.append({"progress": done, "total": total, "message": message})
        if step.get("cancel"):
            scope.cancel()

    with scope:
        try:
            result = await client.call_tool(
                step["name"], step["arguments"], progress_callback=progress if step.get("progress") else None
            )
            return {"result": plain(result), "told": told}
        except Exception as error:
            return {"refused": str(error), "told": told}
    return {"cancelled": True, "told": told}


async def take(client, step):
    if step["do"] == "list":
        return plain(await client.list_tools())
    if step["do"] == "call":
        return await call(client, step)
    answers = [None] * len(step["steps"])

    async def one(at, inner):
        answers[at] = await call(client, inner)

    async with anyio.create_task_group() as group:
        for at, inner in enumerate(step["steps"]):
            group.start_soon(one, at, inner)
    return answers


async def main():
    asked = json.load(sys.stdin)
    server = StdioServerParameters(command=asked["command"], args=asked["args"], env=asked["env"])
    answers = []
    with anyio.fail_after(120):
        async with Client(stdio_client(server), mode=asked["mode"]) as client:
            for step in asked["steps"]:
                answers.append(await take(client, step))
    json.dump(answers, sys.stdout)


anyio.run(main)
