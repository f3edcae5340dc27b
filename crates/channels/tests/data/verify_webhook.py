"""Verifies webhooks with the Python package of Standard Webhooks.

Reads one JSON object with secret, headers and body; prints the payload, or why it is not genuine.
"""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

given = json.load(sys.stdin)
try:
    payload = Webhook(given["secret"]).verify(given["body"], given["headers"])
    print(json.dumps({"payload": payload}))
except WebhookVerificationError as error:
    print(json.dumps({"error": str(error)}))
