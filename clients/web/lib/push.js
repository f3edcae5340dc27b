// Notifications while the page is closed: permission, subscription, and telling the server of it.

import { PostriderError } from "./session.js";

/** Where the worker is unless the page says otherwise; browsers demand the page's own origin. */
const WORKER = "/web/service-worker.js";

/** The worker's own corner, unless the page says otherwise: it has nothing to do with any page. */
const SCOPE = "./push/";

/**
 * `unsupported` (by this browser, or on a page without HTTPS), `unavailable` (the server has no
 * key), `denied` (the user has said no), `off` or `on`.
 */
export async function pushState(session, options = {}) {
  if (!isSupported()) return "unsupported";
  if (Notification.permission === "denied") return "denied";
  const registration = await navigator.serviceWorker.getRegistration(placeOf(options).scope);
  if (await registration?.pushManager.getSubscription()) return "on";
  return (await keyOf(session)) ? "off" : "unavailable";
}

/** Subscribes this browser. Call it from a click: browsers ask for permission only then. */
export async function enablePush(session, options = {}) {
  if (!isSupported()) throw new PostriderError("this browser takes no push messages", {});
  // Asked first, while the click still counts.
  const permission = await Notification.requestPermission();
  if (permission !== "granted") throw new PostriderError("the user has not agreed", {});
  const key = await keyOf(session);
  if (!key) throw new PostriderError("the server has no key for web push", { status: 404 });
  const { worker, scope } = placeOf(options);
  const registration = await navigator.serviceWorker.register(trusted(worker), { scope });
  await activated(registration);
  const wanted = decode(key);
  let subscription = await registration.pushManager.getSubscription();
  if (subscription && !isSame(subscription.options.applicationServerKey, wanted)) {
    // Made with another key, which nobody sends with any more.
    await subscription.unsubscribe();
    subscription = null;
  }
  subscription ??= await registration.pushManager.subscribe({
    userVisibleOnly: true,
    applicationServerKey: wanted,
  });
  const { endpoint, keys } = subscription.toJSON();
  await session.post("/v1/web-push/subscriptions", { endpoint, keys });
  return subscription;
}

/** Takes this browser's subscription back, here and at the server. */
export async function disablePush(session, options = {}) {
  if (!isSupported()) return;
  const registration = await navigator.serviceWorker.getRegistration(placeOf(options).scope);
  const subscription = await registration?.pushManager.getSubscription();
  if (!subscription) return;
  // The server first: what it still sends to a subscription that is gone, it finds out by itself.
  await session.delete("/v1/web-push/subscriptions", { endpoint: subscription.endpoint });
  await subscription.unsubscribe();
}

function placeOf({ worker = WORKER, scope }) {
  const at = new URL(worker, document.baseURI);
  return { worker: at.href, scope: new URL(scope ?? SCOPE, scope ? document.baseURI : at).href };
}

let policy;

/** Pages that demand trusted types name this one, `trusted-types postrider`, if they want push. */
function trusted(address) {
  policy ??= globalThis.trustedTypes?.createPolicy("postrider", { createScriptURL: (url) => url });
  return policy ? policy.createScriptURL(address) : address;
}

function isSupported() {
  return (
    globalThis.isSecureContext === true &&
    "serviceWorker" in navigator &&
    "PushManager" in globalThis &&
    "Notification" in globalThis
  );
}

async function keyOf(session) {
  try {
    return (await session.get("/v1/web-push/key")).public_key;
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/** Waits until the worker can take a subscription. */
async function activated(registration) {
  const worker = registration.active ?? registration.waiting ?? registration.installing;
  if (!worker || worker.state === "activated") return;
  await new Promise((done, fail) => {
    worker.addEventListener("statechange", () => {
      if (worker.state === "activated") done();
      if (worker.state === "redundant") fail(new PostriderError("the worker did not start", {}));
    });
  });
}

/** The bytes of a key in base64url. */
function decode(text) {
  const base64 = text.replaceAll("-", "+").replaceAll("_", "/");
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

function isSame(buffer, bytes) {
  if (!buffer || buffer.byteLength !== bytes.byteLength) return false;
  return new Uint8Array(buffer).every((byte, index) => byte === bytes[index]);
}
