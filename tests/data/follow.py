"""Follows the live feed with Python's websockets: python follow.py URL TOKEN, one JSON line a frame."""

import asyncio
import sys

import websockets


async def follow(url, token):
    protocols = ["postrider.v1", "bearer." + token]
    async with websockets.connect(url, subprotocols=protocols) as socket:
        assert socket.subprotocol == "postrider.v1", socket.subprotocol
        async for frame in socket:
            print(frame, flush=True)
            if '"notification"' in frame:
                await socket.send('{"type":"ack","up_to_seq":%d}' % 1)


asyncio.run(follow(sys.argv[1], sys.argv[2]))
