// The service worker for web push: shows what was pushed, and opens it when it is clicked.
//
// A push carries JSON: {"title", "message", "data": {"url"}, "tag"}. Serve this file from the origin
// of your own pages, or import it into the worker that they have:
// importScripts("https://notify.example.com/web/service-worker.js").

"use strict";

/** What is shown of a push that cannot be read: browsers demand that something is. */
const UNREADABLE = { title: "Notification", message: "" };

self.addEventListener("install", () => self.skipWaiting());

self.addEventListener("push", (event) => {
  event.waitUntil(show(read(event.data)));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open(event.notification.data?.url));
});

function read(data) {
  try {
    const said = data?.json();
    return said && typeof said === "object" ? said : UNREADABLE;
  } catch {
    return UNREADABLE;
  }
}

async function show(push) {
  const text = (value) => (typeof value === "string" ? value : "");
  const tag = text(push.tag) || text(push.id);
  await self.registration.showNotification(text(push.title) || UNREADABLE.title, {
    body: text(push.message) || text(push.body),
    // One notification that comes twice, in one tag, is shown once.
    tag: tag || undefined,
    dir: "auto",
    lang: text(push.locale) || undefined,
    icon: safe(push.data?.icon) ?? undefined,
    data: { url: safe(push.data?.url), id: text(push.id) },
  });
}

/** Focuses a window that shows the address already, else opens it. */
async function open(url) {
  const target = url ?? new URL("/", self.location.origin).href;
  const windows = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const shown = windows.find((client) => client.url === target);
  if (shown) return shown.focus();
  return self.clients.openWindow(target);
}

/** An address that may be opened: http or https. Else null. */
function safe(text) {
  if (typeof text !== "string" || text === "") return null;
  try {
    const url = new URL(text, self.location.origin);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}
