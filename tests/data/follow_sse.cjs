// Follows the live feed with npm's eventsource: node follow_sse.cjs URL TOKEN, one JSON line an event.
const { EventSource } = require("eventsource");

const [url, token] = process.argv.slice(2);
const events = new EventSource(url, {
  fetch: (input, init) =>
    fetch(input, { ...init, headers: { ...init.headers, authorization: "Bearer " + token } }),
});
events.onmessage = (event) => console.log(event.data);
