// The demonstration: takes a token from the address's fragment, which no server ever sees, or asks.

import "../inbox.js";

const KEPT = "postrider-demo-token";
const $ = (id) => document.getElementById(id);
const inbox = $("inbox");

/** Takes the token out of `#token=…`, so that it is neither kept in the history nor passed on. */
function fromFragment() {
  const said = new URLSearchParams(location.hash.slice(1));
  const token = said.get("token");
  if (token) history.replaceState(null, "", location.pathname + location.search);
  return token;
}

/** Whose token it is; whether it is any good the server says. */
function userOf(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (letter) => letter.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)).sub ?? "?";
  } catch {
    return "?";
  }
}

function signIn(token) {
  // What `postrider up` prints one line above the token.
  if (token.startsWith("pr_")) {
    refuse("This is an API key; paste the user token.");
    return;
  }
  sessionStorage.setItem(KEPT, token);
  inbox.token = token;
  const user = userOf(token);
  $("user").textContent = user;
  $("curl").textContent = [
    `curl -X POST ${location.origin}/v1/notifications \\`,
    "  -H 'Authorization: Bearer <api key>' -H 'Content-Type: application/json' \\",
    `  -d '${JSON.stringify({ user_id: user, channels: ["in_app"], subject: "Hello", content: "It works." })}'`,
  ].join("\n");
  inbox.client.addEventListener("state", tellState);
  tellState();
}

function tellState() {
  const { state, transport } = inbox.client;
  $("state").textContent = transport ? `${state}, over ${transport}` : state;
  if (state === "unauthorized") refuse("This token is not valid here, or it has run out.");
  else show(true);
  if (state === "live") $("token").value = "";
}

function refuse(why) {
  sessionStorage.removeItem(KEPT);
  show(false);
  $("problem").textContent = why;
}

function show(isSignedIn) {
  $("sign-in").hidden = isSignedIn;
  $("signed-in").hidden = !isSignedIn;
  $("problem").textContent = "";
}

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn($("token").value.trim());
});
$("sign-out").addEventListener("click", () => {
  sessionStorage.removeItem(KEPT);
  location.reload();
});
$("locale").addEventListener("change", () => {
  document.documentElement.lang = $("locale").value;
  inbox.locale = $("locale").value;
});
$("theme").addEventListener("change", () => {
  document.documentElement.dataset.theme = $("theme").value;
  inbox.setAttribute("theme", $("theme").value);
});
inbox.addEventListener("postrider-unread", (event) => {
  const { unread } = event.detail;
  document.title = unread > 0 ? `(${unread}) Postrider inbox` : "Postrider inbox";
});

const token = fromFragment() ?? sessionStorage.getItem(KEPT);
if (token) signIn(token);
