"""A real mail server (aiosmtpd) on the port it is given, that notes the Message-ID of each mail. Nobody is there whose
address begins with `nobody`.

Arguments: PORT, or 0 for any, and FILE. Prints its port; ends with its input.
"""

import asyncio
import email
import sys

from aiosmtpd.smtp import SMTP


class Sink:
    def __init__(self, path):
        self.file = open(path, "a")

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return f"550 5.1.1 <{address}> is nobody here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 well"

    async def handle_DATA(self, server, session, envelope):
        message_id = email.message_from_bytes(envelope.content)["Message-ID"]
        self.file.write(f"{message_id} {' '.join(envelope.rcpt_tos)}\n")
        self.file.flush()
        return "250 2.0.0 taken"


async def main(port, path):
    sink = Sink(path)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(sink), "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
