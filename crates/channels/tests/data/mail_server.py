"""A real mail server (aiosmtpd) that prints every mail as two readers of mail understand it.

Prints its port, then one line of JSON for each mail: the envelope, and the message as Python's own
`email` and as `mail-parser` read it. Ends with its input. Arguments: --certificate FILE --key FILE
[--implicit], --user NAME --password TEXT.
"""

import argparse
import asyncio
import base64
import email
import email.policy
import json
import ssl
import sys
import warnings

import mailparser
from aiosmtpd.smtp import SMTP, AuthResult


# aiosmtpd warns of AUTH without STARTTLS, which under smtps:// is as it should be.
warnings.simplefilter("ignore")


def read_by_email(content):
    message = email.message_from_bytes(content, policy=email.policy.default)
    text = message.get_body(("plain",))
    html = message.get_body(("html",))
    return {
        "headers": {name.lower(): str(value) for name, value in message.items()},
        "type": message.get_content_type(),
        "parts": [part.get_content_type() for part in message.walk()],
        "defects": [repr(it) for part in message.walk() for it in part.defects],
        "text": text and text.get_content(),
        "html": html and html.get_content(),
        "files": [
            {
                "name": part.get_filename(),
                "type": part.get_content_type(),
                "content": base64.b64encode(part.get_payload(decode=True)).decode(),
            }
            for part in message.iter_attachments()
        ]
        if message.is_multipart()
        else [],
    }


def read_by_mailparser(content):
    mail = mailparser.parse_from_bytes(content)
    return {
        "subject": mail.subject,
        "from": [address for _, address in mail.from_],
        "to": [address for _, address in mail.to],
        "cc": [address for _, address in mail.cc],
        "message_id": mail.message_id,
        "date": mail.date and mail.date.isoformat(),
        "text": mail.text_plain,
        "html": mail.text_html,
        "files": [{"name": it["filename"], "content": it["payload"]} for it in mail.attachments],
        "defects": mail.defects,
    }


class Printer:
    async def handle_DATA(self, server, session, envelope):
        content = envelope.original_content
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "is_encrypted": server.transport.get_extra_info("ssl_object") is not None,
            "login": session.auth_data and session.auth_data.decode(),
            "email": read_by_email(content),
            "mailparser": read_by_mailparser(content),
        }
        print(json.dumps(mail), flush=True)
        return "250 2.0.0 taken"


async def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--certificate")
    arguments.add_argument("--key")
    arguments.add_argument("--implicit", action="store_true")
    arguments.add_argument("--user")
    arguments.add_argument("--password")
    given = arguments.parse_args()

    tls = None
    if given.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(given.certificate, given.key)

    def check(server, session, envelope, mechanism, data):
        is_right = (data.login, data.password) == (given.user.encode(), given.password.encode())
        return AuthResult(success=is_right, handled=is_right, auth_data=data.login)

    def conversation():
        return SMTP(
            Printer(),
            hostname="mail.test",
            enable_SMTPUTF8=True,
            tls_context=None if given.implicit else tls,
            require_starttls=bool(tls) and not given.implicit,
            auth_required=bool(given.user),
            auth_require_tls=bool(tls) and not given.implicit,
            authenticator=check if given.user else None,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        conversation, "127.0.0.1", 0, ssl=tls if given.implicit else None
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
