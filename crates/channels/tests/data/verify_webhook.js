// Verifies webhooks with the npm package of Standard Webhooks.
//
// Reads one JSON object with secret, headers and body; prints the payload, or why it is not genuine.
const { Webhook } = require("standardwebhooks");

const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
try {
  const payload = new Webhook(given.secret).verify(given.body, given.headers);
  console.log(JSON.stringify({ payload }));
} catch (error) {
  console.log(JSON.stringify({ error: error.message }));
}
