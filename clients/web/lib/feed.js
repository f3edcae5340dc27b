// The list behind an inbox: newest first, bounded, kept true by what the client hears.

import { OTHER_USER } from "./session.js";

/** Items held at most. Who scrolls further back is told that there is more elsewhere. */
const ITEMS_MAX = 500;

const PAGE_ITEMS = 20;

/** The longest list that is asked for at once. */
const REFRESH_ITEMS_MAX = 200;

/** Pages in a row of which nothing is shown, before the rest is left for the next time. */
const EMPTY_PAGES_MAX = 5;

/** How long changes made elsewhere are gathered before the list is read again. */
const REFRESH_PAUSE = 400;

/** Marks of "seen" that wait at most. */
const SEEN_WAITING_MAX = 50;

export class Feed extends EventTarget {
  #client;
  #items = [];
  #cursor = null;
  #status = "idle";
  #error = null;
  #isStale = false;
  #loading = null;
  #refreshTimer = null;
  #isWatched = false;
  #seenWaiting = [];
  #isMarkingSeen = false;
  /** Rises with every user: what was asked for an earlier one is not shown to the next. */
  #turn = 0;
  #listeners = new AbortController();

  /** @param {import("../client.js").PostriderClient} client */
  constructor(client, { max = ITEMS_MAX, pageItems = PAGE_ITEMS } = {}) {
    super();
    this.#client = client;
    this.max = max;
    this.pageItems = pageItems;
    const on = (type, listener) => {
      client.addEventListener(type, listener, { signal: this.#listeners.signal });
    };
    on("notification", (event) => this.#arrive(event.detail));
    on("read", (event) => this.#wasRead(event.detail.ids));
    on("resync", () => this.#goStale());
    on("reset", () => this.#reset());
    on("hello", (event) => this.#greet(event.detail.isFirst));
  }

  /** Newest first. Not to be changed. */
  get items() {
    return this.#items;
  }

  /** `idle` before the first load, then `loading`, `ready` or `failed`. */
  get status() {
    return this.#status;
  }

  get error() {
    return this.#error;
  }

  /** Whether `loadMore` would bring any. */
  get hasMore() {
    return this.#cursor !== null && this.#items.length < this.max;
  }

  /** Whether the list ends here only because no more are held. */
  get isCut() {
    return this.#cursor !== null && this.#items.length >= this.max;
  }

  /** Whether anybody looks: then what changed elsewhere is fetched at once, else when they do. */
  set isWatched(isWatched) {
    this.#isWatched = isWatched;
    if (isWatched && this.#isStale) this.#plan(0);
  }

  /** Loads the first page, if there is none. */
  load() {
    if (this.#status === "ready" || this.#loading) return this.#loading ?? Promise.resolve();
    return this.refresh();
  }

  /** Reads as much as is held once more. */
  refresh() {
    const wanted = Math.min(Math.max(this.#items.length, this.pageItems), REFRESH_ITEMS_MAX);
    return this.#once(async () => {
      this.#isStale = false;
      const since = this.#client.seq ?? 0;
      const page = await this.#page(null, wanted);
      // What came in while the page was on its way stays on top.
      const known = new Set(page.items.map((item) => item.id));
      const arrived = this.#items.filter((item) => item.seq > since && !known.has(item.id));
      this.#items = [...arrived, ...page.items].slice(0, this.max);
      this.#cursor = page.cursor;
    });
  }

  /** Adds the next page. */
  loadMore() {
    if (!this.hasMore || this.#loading) return this.#loading ?? Promise.resolve();
    return this.#once(async () => {
      const page = await this.#page(this.#cursor, this.pageItems);
      const known = new Set(this.#items.map((item) => item.id));
      const fresh = page.items.filter((item) => !known.has(item.id));
      this.#items = [...this.#items, ...fresh].slice(0, this.max);
      this.#cursor = page.cursor;
    });
  }

  async markRead(item) {
    if (item.read_at) return;
    await this.#change(item, { read_at: now(), seen_at: item.seen_at ?? now() }, () =>
      this.#client.markRead(item.id),
    );
  }

  async markUnread(item) {
    if (!item.read_at) return;
    await this.#change(item, { read_at: null }, () => this.#client.markUnread(item.id));
  }

  /** Archives an item: it leaves the list. */
  async archive(item) {
    this.#items = this.#items.filter((other) => other.id !== item.id);
    this.#changed();
    try {
      await this.#client.archive(item.id);
    } catch (error) {
      this.#fail(error, () => this.#putBack(item));
    }
  }

  async markAllRead() {
    const upTo = Math.max(this.#client.seq ?? 0, ...this.#items.map((item) => item.seq));
    const at = now();
    const before = new Map();
    this.#items = this.#items.map((item) => {
      if (item.read_at) return item;
      before.set(item.id, item);
      return { ...item, read_at: at, seen_at: item.seen_at ?? at };
    });
    this.#changed();
    try {
      await this.#client.markAllRead(upTo);
    } catch (error) {
      // One by one: what has come since, and was done since, stays.
      const undone = (item) => (item.read_at === at && before.get(item.id)) || item;
      this.#fail(error, () => (this.#items = this.#items.map(undone)));
    }
  }

  /** Notes that an item was on the screen; told to the server one after the other. */
  markSeen(item) {
    if (item.seen_at || this.#seenWaiting.length >= SEEN_WAITING_MAX) return;
    this.#replace(item.id, { seen_at: now() });
    this.#seenWaiting.push(item.id);
    this.#tellSeen();
  }

  /** Lets go of the client. */
  close() {
    this.#listeners.abort();
    clearTimeout(this.#refreshTimer);
  }

  async #tellSeen() {
    if (this.#isMarkingSeen) return;
    this.#isMarkingSeen = true;
    try {
      while (this.#seenWaiting.length > 0) {
        // One that is not told now counts as seen when it is read.
        await this.#client.markSeen(this.#seenWaiting.shift()).catch(() => {});
      }
    } finally {
      this.#isMarkingSeen = false;
    }
  }

  /** One thing at a time: two pages on their way at once would mix. */
  #once(work) {
    if (this.#loading) return this.#loading.then(() => this.#once(work));
    if (this.#items.length === 0) this.#status = "loading";
    const turn = this.#turn;
    const settle = (error) => {
      if (turn !== this.#turn) return;
      this.#loading = null;
      if (error) this.#isStale = true;
      this.#status = error && this.#items.length === 0 ? "failed" : "ready";
      this.#error = error;
      this.#changed();
    };
    this.#loading = work().then(() => settle(null), settle);
    this.#changed();
    return this.#loading;
  }

  /** A page with anything on it, if there is one: filters may leave pages empty. */
  async #page(cursor, limit) {
    let page;
    for (let tries = 0; tries < EMPTY_PAGES_MAX; tries += 1) {
      page = await this.#client.list({ cursor: cursor ?? undefined, limit });
      cursor = page.next_cursor;
      if (page.items.length > 0 || cursor === null) break;
    }
    return { items: page.items, cursor };
  }

  #greet(isFirst) {
    if (this.#status === "idle") {
      if (this.#isWatched) this.load();
    } else if (!isFirst || this.#status === "failed") {
      // What was read elsewhere meanwhile is not told again.
      this.#goStale();
    }
  }

  /** The user has left. */
  #reset() {
    this.#turn += 1;
    this.#loading = null;
    clearTimeout(this.#refreshTimer);
    this.#refreshTimer = null;
    this.#items = [];
    this.#cursor = null;
    this.#status = "idle";
    this.#error = null;
    this.#isStale = false;
    this.#seenWaiting = [];
    this.#changed();
  }

  #arrive(item) {
    if (this.#status === "idle" || this.#items.some((other) => other.id === item.id)) return;
    this.#items = [item, ...this.#items].slice(0, this.max);
    this.#changed();
  }

  /** Something was marked, here or elsewhere. Ids say what was read; whatever else it was, is not
   * said. */
  #wasRead(ids) {
    if (this.#status === "idle") return;
    const wanted = new Set(ids);
    const isNews = this.#items.some((item) => wanted.has(item.id) && !item.read_at);
    if (isNews) {
      const at = now();
      this.#items = this.#items.map((item) =>
        wanted.has(item.id) && !item.read_at ? { ...item, read_at: at } : item,
      );
      this.#changed();
    }
    // Of what was read elsewhere some may have been archived as well.
    if (isNews || ids.length === 0) this.#goStale();
  }

  #goStale() {
    this.#isStale = true;
    if (this.#isWatched) this.#plan(REFRESH_PAUSE);
  }

  #plan(pause) {
    if (this.#status === "idle") return;
    this.#refreshTimer ??= setTimeout(() => {
      this.#refreshTimer = null;
      this.refresh();
    }, pause);
  }

  async #change(item, change, tell) {
    const before = this.#replace(item.id, change);
    try {
      await tell();
    } catch (error) {
      this.#fail(error, () => before && this.#replace(item.id, before));
    }
  }

  /** Puts an item back to where it was, if it has not come back by itself. */
  #putBack(item) {
    if (this.#items.some((other) => other.id === item.id)) return;
    const index = this.#items.findIndex((other) => other.seq < item.seq);
    this.#items = this.#items.toSpliced(index < 0 ? this.#items.length : index, 0, item);
  }

  /** Puts a changed copy in an item's place, and answers what it was. */
  #replace(id, change) {
    const index = this.#items.findIndex((item) => item.id === id);
    if (index < 0) return null;
    const before = this.#items[index];
    this.#items = this.#items.with(index, { ...before, ...change });
    this.#changed();
    return before;
  }

  /** Takes a change back that was not made. */
  #fail(error, undo) {
    // It was another user's, of whom nothing is left to change.
    if (error.code === OTHER_USER) return;
    undo();
    this.#error = error;
    this.#changed();
    this.dispatchEvent(new CustomEvent("failed", { detail: error }));
  }

  #changed() {
    this.dispatchEvent(new CustomEvent("change"));
  }
}

function now() {
  return new Date().toISOString();
}
