// <postrider-inbox>: a bell with what is unread, a panel with the list, and toasts of what arrives.
//
// <script type="module" src="https://notify.example.com/web/inbox.js"></script>
// <postrider-inbox token="…"></postrider-inbox>

import { Feed, PostriderClient } from "./client.js";
import { h, icon, ICONS } from "./lib/dom.js";
import { isUrgent, label, ListView } from "./lib/list.js";
import { PreferencesView } from "./lib/preferences.js";
import { adoptStyle } from "./lib/style.js";
import { Toasts } from "./lib/toasts.js";
import { Speaker } from "./texts.js";

/** What the badge says at most. */
const BADGE_MAX = 99;

/** The distance of the panel from the bell and from the window's edges. */
const GAP = 8;

/** How long a connection may be away before the panel says so. */
const OFFLINE_AFTER = 3_000;

/** Properties that a page may have set before this file was there. */
const EARLY = ["client", "getToken", "locale", "push", "server", "texts", "token"];

/** Where this file came from is where Postrider is, unless the page says otherwise. */
const HOME = new URL("..", import.meta.url).href;

export class PostriderInbox extends HTMLElement {
  static observedAttributes = ["locale", "server", "token", "toasts"];

  #client = null;
  #ownsClient = true;
  #getToken = null;
  #push = undefined;
  #texts = {};
  #speaker;
  #feed = null;
  #view;
  #preferences = null;
  #toasts;
  #parts = {};
  #isOpen = false;
  #placing = null;
  #offlineTimer = null;
  #clientListeners = new AbortController();

  constructor() {
    super();
    this.attachShadow({ mode: "open", delegatesFocus: false });
    adoptStyle(this.shadowRoot);
    this.#speaker = new Speaker("en");
    this.#build();
  }

  connectedCallback() {
    for (const name of EARLY) {
      if (!Object.hasOwn(this, name)) continue;
      const value = this[name];
      delete this[name];
      this[name] = value;
    }
    this.#speak();
    this.#begin();
  }

  disconnectedCallback() {
    this.close();
    this.#toasts.clear();
    clearTimeout(this.#offlineTimer);
    // An element that is only moved is back before anybody has heard of this.
    queueMicrotask(() => {
      if (this.isConnected) return;
      this.#stopHearing();
      if (this.#ownsClient) this.#client?.close();
    });
  }

  attributeChangedCallback(name, before, after) {
    if (before === after || !this.isConnected) return;
    if (name === "locale") this.#speak();
    if (name === "server" && this.#ownsClient) this.#leave();
    if (name === "token" && this.#ownsClient && this.#client) this.#client.token = after;
    this.#begin();
  }

  /** Where Postrider is. */
  get server() {
    return this.getAttribute("server") ?? HOME;
  }
  set server(server) {
    this.setAttribute("server", server);
  }

  /** A user token, for pages that do not live longer than it. Others set `getToken`. */
  get token() {
    return this.getAttribute("token");
  }
  set token(token) {
    if (token === null || token === undefined) this.removeAttribute("token");
    else this.setAttribute("token", token);
  }

  /** An async function that answers a fresh user token. */
  get getToken() {
    return this.#getToken;
  }
  set getToken(getToken) {
    this.#getToken = typeof getToken === "function" ? getToken : null;
    if (this.#ownsClient) this.#leave();
    this.#begin();
  }

  /** The headless client; one of the page's own may be set. */
  get client() {
    return this.#client;
  }
  set client(client) {
    this.#leave();
    this.#client = client;
    this.#ownsClient = !client;
    this.#begin();
  }

  /** Where the page's service worker is, `{ worker, scope }`, if it is not Postrider's own. */
  get push() {
    return this.#push;
  }
  set push(push) {
    this.#push = push;
  }

  /** What is said, by language: `{ de: { title: "Mitteilungen" } }`. */
  get texts() {
    return this.#texts;
  }
  set texts(texts) {
    this.#texts = texts ?? {};
    if (this.isConnected) this.#speak();
  }

  get locale() {
    const around = this.closest("[lang]")?.lang || document.documentElement.lang;
    return this.getAttribute("locale") || around || navigator.language;
  }
  set locale(locale) {
    this.setAttribute("locale", locale);
  }

  get unread() {
    return this.#client?.unread ?? 0;
  }

  get isOpen() {
    return this.#isOpen;
  }

  open() {
    if (this.#isOpen || !this.isConnected || !this.#tell("postrider-open", null, true)) return;
    this.#isOpen = true;
    this.#toasts.clear();
    this.#showPreferences(false);
    const { bell, panel } = this.#parts;
    panel.showPopover();
    this.#place();
    bell.setAttribute("aria-expanded", "true");
    this.#placing = new AbortController();
    const signal = this.#placing.signal;
    addEventListener("resize", () => this.#place(), { signal });
    addEventListener("scroll", () => this.#place(), { signal, passive: true, capture: true });
    document.addEventListener("pointerdown", (event) => this.#leaveAt(event), { signal });
    if (this.#feed) {
      this.#feed.isWatched = true;
      this.#feed.load();
    }
    this.#view.isShown = true;
    this.#view.render();
    panel.focus({ preventScroll: true });
  }

  close() {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    const { bell, panel } = this.#parts;
    const hadFocus = panel.contains(this.shadowRoot.activeElement);
    this.#placing.abort();
    if (panel.matches(":popover-open")) panel.hidePopover();
    bell.setAttribute("aria-expanded", "false");
    if (this.#feed) this.#feed.isWatched = false;
    this.#view.isShown = false;
    if (hadFocus) bell.focus({ preventScroll: true });
  }

  toggle() {
    if (this.#isOpen) this.close();
    else this.open();
  }

  // Building, once.

  #build() {
    const onOpen = (item, event) => this.#follow(item, event);
    this.#view = new ListView({ speaker: this.#speaker, onOpen });
    this.#toasts = new Toasts({ speaker: this.#speaker, onOpen, onMore: () => this.open() });
    const button = (part, ...paths) => {
      const properties = { class: "tool", part: `tool ${part}`, type: "button" };
      return h("button", properties, icon(...paths));
    };
    const badge = h("span", { class: "badge", part: "badge", "aria-hidden": "true", hidden: true });
    const bell = h(
      "button",
      {
        class: "bell",
        part: "bell",
        type: "button",
        "aria-haspopup": "dialog",
        "aria-expanded": "false",
      },
      h("slot", { name: "icon" }, icon(...ICONS.bell)),
      badge,
    );
    const title = h("h2", { id: "title", part: "title-bar" });
    const back = button("back", ...ICONS.back);
    back.classList.add("flip");
    const readAll = button("read-all", ...ICONS.readAll);
    const settings = button("settings", ...ICONS.settings);
    const shut = button("close", ...ICONS.close);
    const banner = h("div", { class: "banner", part: "banner", role: "status", hidden: true });
    const head = h("header", { class: "head", part: "head" }, back, title, readAll, settings, shut);
    const panel = h(
      "div",
      {
        class: "panel",
        part: "panel",
        role: "dialog",
        "aria-labelledby": "title",
        popover: "manual",
        tabindex: "-1",
      },
      head,
      banner,
      this.#view.scroll,
    );
    const root = h("div", { class: "root" }, bell, panel, this.#toasts.element, this.#toasts.live);
    this.#parts = { root, bell, badge, panel, head, title, back, readAll, settings, shut, banner };
    bell.addEventListener("click", () => this.toggle());
    shut.addEventListener("click", () => this.close());
    back.addEventListener("click", () => this.#showPreferences(false, true));
    settings.addEventListener("click", () => this.#showPreferences(true, true));
    readAll.addEventListener("click", () => this.#feed?.markAllRead());
    panel.addEventListener("keydown", (event) => this.#key(event));
    panel.addEventListener("focusout", (event) => {
      // Tabbing on leaves the panel, as it does any box that is not modal.
      const to = event.relatedTarget;
      if (to && to !== this && !this.shadowRoot.contains(to)) this.close();
    });
    this.shadowRoot.append(root);
  }

  /** Says everything in the language of the place. */
  #speak() {
    this.#speaker = new Speaker(this.locale, this.#texts);
    const { root, title, back, readAll, settings, shut } = this.#parts;
    root.lang = this.#speaker.language;
    root.dir = this.#speaker.direction;
    const say = (key) => this.#speaker.say(key);
    label(back, say("back"));
    label(readAll, say("markAllRead"));
    label(settings, say("settings"));
    label(shut, say("close"));
    title.textContent = say("title");
    this.#view.speaker = this.#speaker;
    this.#toasts.speaker = this.#speaker;
    this.#count();
    this.#tellState();
    if (this.#preferences) this.#showPreferences(true);
  }

  // The client.

  /** Connects, as soon as there is anything to connect with. */
  #begin() {
    if (!this.isConnected) return;
    if (!this.#client) {
      if (!this.token && !this.#getToken) return;
      const [server, token, getToken] = [this.server, this.token, this.#getToken ?? undefined];
      this.#client = new PostriderClient({ server, token, getToken });
    }
    if (!this.#feed) this.#hear();
    if (this.#ownsClient) this.#client.connect();
  }

  #hear() {
    const client = this.#client;
    this.#clientListeners = new AbortController();
    const signal = this.#clientListeners.signal;
    this.#feed = new Feed(client);
    this.#view.feed = this.#feed;
    this.#feed.addEventListener("change", () => this.#render(), { signal });
    this.#feed.addEventListener("failed", () => this.#tellState("notDone"), { signal });
    client.addEventListener("unread", () => this.#count(), { signal });
    client.addEventListener("state", () => this.#tellState(), { signal });
    client.addEventListener("notification", (event) => this.#arrive(event.detail), { signal });
    client.addEventListener("read", (event) => this.#wasRead(event.detail.ids), { signal });
    client.addEventListener("reset", () => this.#forget(), { signal });
    this.#count();
    if (this.#isOpen) {
      this.#feed.isWatched = true;
      this.#feed.load();
    }
  }

  #stopHearing() {
    this.#clientListeners.abort();
    this.#feed?.close();
    this.#feed = null;
  }

  #leave() {
    this.#stopHearing();
    if (this.#ownsClient) this.#client?.close();
    const hadUnread = this.unread > 0;
    this.#client = null;
    this.#view.feed = null;
    this.#forget();
    if (hadUnread && this.isConnected) this.#tell("postrider-unread", { unread: 0 });
  }

  /** Whoever's inbox it was has left: nothing of theirs stays to be seen. */
  #forget() {
    this.#toasts.forget();
    if (this.#preferences) this.#showPreferences(false);
    this.#view.render();
    this.#count();
    this.#tellState();
  }

  #arrive(item) {
    const isWelcome = this.#tell("postrider-notification", item, true);
    const isShown = isWelcome && !this.#isOpen && this.getAttribute("toasts") !== "off";
    this.#toasts.arrive(item, isShown);
  }

  #wasRead(ids) {
    for (const id of ids) this.#toasts.remove(id);
  }

  /** Somebody has clicked on a notification, in the list or on a toast. */
  #follow(item, event) {
    if (!this.#tell("postrider-click", item, true)) event.preventDefault();
    // A click into another tab leaves this one as it is.
    else if (event.currentTarget.localName === "a" && !event.ctrlKey && !event.metaKey)
      this.close();
    if (this.#feed?.items.some((other) => other.id === item.id)) this.#feed.markRead(item);
    else this.#client?.markRead(item.id).catch(() => this.#tellState("notDone"));
  }

  #tell(type, detail, cancelable = false) {
    const event = new CustomEvent(type, { detail, cancelable, bubbles: true, composed: true });
    return this.dispatchEvent(event);
  }

  // Showing.

  #render() {
    if (!this.#isOpen) return;
    this.#view.render();
    this.#parts.readAll.disabled = this.unread === 0;
  }

  #count() {
    const { bell, badge, readAll } = this.#parts;
    const unread = this.unread;
    badge.hidden = unread === 0;
    badge.textContent =
      unread > BADGE_MAX ? `${this.#speaker.number(BADGE_MAX)}+` : this.#speaker.number(unread);
    label(
      bell,
      unread === 0 ? this.#speaker.say("bellNone") : this.#speaker.say("bell", { count: unread }),
    );
    readAll.disabled = unread === 0;
    if (this.isConnected && this.#client) this.#tell("postrider-unread", { unread });
  }

  /** Says what is wrong, if something is: a short gap is nobody's business. */
  #tellState(failure) {
    const { banner } = this.#parts;
    const state = this.#client?.state;
    clearTimeout(this.#offlineTimer);
    const show = (key) => {
      banner.hidden = !key;
      if (key) banner.textContent = this.#speaker.say(key);
    };
    if (failure) show(failure);
    else if (state === "unauthorized") show("unauthorized");
    else if (state === "waiting" || state === "connecting") {
      if (!banner.hidden) return;
      this.#offlineTimer = setTimeout(() => show("offline"), OFFLINE_AFTER);
    } else show(null);
  }

  #showPreferences(isShown, movesFocus = false) {
    const { panel, title, back, readAll, settings } = this.#parts;
    this.#preferences?.element.remove();
    this.#preferences = null;
    this.#view.scroll.hidden = isShown;
    back.hidden = !isShown;
    readAll.hidden = isShown;
    settings.hidden = isShown;
    title.textContent = this.#speaker.say(isShown ? "settings" : "title");
    if (isShown && this.#client) {
      this.#preferences = new PreferencesView({
        client: this.#client,
        speaker: this.#speaker,
        feed: this.#feed,
        push: this.#push,
      });
      panel.append(this.#preferences.element);
      this.#preferences.load();
    }
    if (movesFocus) (isShown ? back : settings).focus();
  }

  #key(event) {
    if (event.key === "Escape") {
      event.stopPropagation();
      if (this.#preferences) this.#showPreferences(false, true);
      else this.close();
    } else if (event.key === "ArrowDown" && !this.#preferences && !event.target.closest("ul")) {
      event.preventDefault();
      this.#view.focus();
    }
  }

  #leaveAt(event) {
    if (!event.composedPath().includes(this)) this.close();
  }

  /** Puts the panel below the bell, or above it, where there is room. */
  #place() {
    const { bell, panel } = this.#parts;
    const at = bell.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = panel;
    const isRightToLeft = getComputedStyle(this).direction === "rtl";
    const isNearEnd = isRightToLeft ? at.left < innerWidth / 2 : at.left > innerWidth / 2;
    // It opens towards the middle of the window.
    const wanted = isNearEnd !== isRightToLeft ? at.right - width : at.left;
    const left = Math.min(Math.max(wanted, GAP), Math.max(GAP, innerWidth - width - GAP));
    const below = at.bottom + GAP;
    const fits = below + height <= innerHeight - GAP || at.top < innerHeight / 2;
    panel.style.left = `${left}px`;
    panel.style.top = fits ? `${below}px` : `${Math.max(GAP, at.top - GAP - height)}px`;
    const room = fits ? innerHeight - below - GAP : at.top - 2 * GAP;
    panel.style.maxHeight = `min(var(--_height), ${Math.max(160, room)}px)`;
  }
}

export { Feed, isUrgent, PostriderClient, Speaker };

if (!customElements.get("postrider-inbox")) {
  customElements.define("postrider-inbox", PostriderInbox);
}
