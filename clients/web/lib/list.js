// The list in the panel: rows by id, arrow keys between them, and the next page when its end shows.

import { h, icon, ICONS, safeUrl } from "./dom.js";

/** How far before the end the next page is asked for. */
const AHEAD = "300px 0px";

/** How often "5 minutes ago" is said anew. */
const AGO_INTERVAL = 30_000;

/** What is shown while there is no feed. */
const NOTHING = { items: [], status: "idle", hasMore: false, isCut: false };

export class ListView {
  #feed;
  #speaker;
  #onOpen;
  #rows = new Map();
  #current = null;
  #end = h("div", { class: "end", part: "end" });
  #blank = h("div", { class: "blank", part: "empty" });
  #ends;
  #seen;
  #timer = null;

  /** `onOpen(item, event)` is told of clicks before anything follows from them. */
  constructor({ speaker, onOpen }) {
    this.#speaker = speaker;
    this.#onOpen = onOpen;
    this.list = h("ul", { class: "list", part: "list", role: "list" });
    this.list.addEventListener("keydown", (event) => this.#move(event));
    this.list.addEventListener("focusin", (event) => this.#settle(event.target));
    this.scroll = h("div", { class: "scroll", part: "scroll" }, this.list, this.#end, this.#blank);
    this.#ends = new IntersectionObserver(
      (entries) => entries.some((entry) => entry.isIntersecting) && this.#feed?.loadMore(),
      { root: this.scroll, rootMargin: AHEAD },
    );
    this.#seen = new IntersectionObserver((entries) => this.#see(entries), {
      root: this.scroll,
      threshold: 0.6,
    });
  }

  set feed(feed) {
    this.#feed = feed;
  }

  set speaker(speaker) {
    this.#speaker = speaker;
    for (const row of this.#rows.values()) row.element.remove();
    this.#rows.clear();
    this.render();
  }

  /** Starts and stops what only a shown list needs. */
  set isShown(isShown) {
    clearInterval(this.#timer);
    if (!isShown) return;
    this.#tellTimes();
    this.#timer = setInterval(() => this.#tellTimes(), AGO_INTERVAL);
  }

  /** Moves the focus into the list; answers whether there is anything to focus. */
  focus() {
    const row = this.#rows.get(this.#current) ?? this.#rows.values().next().value;
    row?.main.focus();
    return row !== undefined;
  }

  render() {
    const feed = this.#feed ?? NOTHING;
    const wanted = new Set(feed.items.map((item) => item.id));
    const focused = this.#focused();
    const rowsBefore = [...this.#rows.keys()];
    for (const [id, row] of this.#rows) {
      if (wanted.has(id)) continue;
      this.#seen.unobserve(row.element);
      row.element.remove();
      this.#rows.delete(id);
    }
    let previous = null;
    for (const item of feed.items) {
      let row = this.#rows.get(item.id);
      if (!row) {
        row = new Row(item, this.#speaker, this);
        this.#rows.set(item.id, row);
        this.#seen.observe(row.element);
      }
      row.update(item);
      const next = previous ? previous.nextSibling : this.list.firstChild;
      // Only what stands elsewhere is moved: moving takes the focus away.
      if (row.element !== next) this.list.insertBefore(row.element, next);
      previous = row.element;
    }
    this.#keepFocus(focused, rowsBefore, feed.items);
    this.#renderEnd(feed);
  }

  // What a row asks for.

  open(id, event) {
    const item = this.#item(id);
    if (item) this.#onOpen(item, event);
  }

  toggleRead(id) {
    const item = this.#item(id);
    if (item) this.#feed[item.read_at ? "markUnread" : "markRead"](item);
  }

  archive(id) {
    const item = this.#item(id);
    if (item) this.#feed.archive(item);
  }

  #item(id) {
    return this.#feed.items.find((item) => item.id === id);
  }

  #focused() {
    const active = this.list.getRootNode().activeElement;
    const row = active?.closest?.("li");
    return row && this.list.contains(row) ? row.dataset.id : null;
  }

  /** When the focused row has left, its neighbour has the focus. */
  #keepFocus(focused, rowsBefore, items) {
    if (!this.#rows.has(this.#current)) {
      const index = Math.max(0, rowsBefore.indexOf(this.#current));
      this.#current = items[Math.min(index, items.length - 1)]?.id ?? null;
    }
    for (const [id, row] of this.#rows) row.isCurrent = id === this.#current;
    if (!focused || this.#rows.has(focused)) return;
    if (!this.focus()) this.scroll.closest("[role=dialog]")?.focus();
  }

  #renderEnd(feed) {
    const say = (key) => this.#speaker.say(key);
    const isEmpty = feed.items.length === 0;
    this.list.hidden = isEmpty;
    this.#end.hidden = isEmpty || !(feed.hasMore || feed.isCut);
    this.#end.replaceChildren();
    this.#blank.hidden = !isEmpty;
    this.#blank.replaceChildren();
    if (isEmpty) {
      if (feed.status === "failed") {
        const again = h("button", { class: "plain", part: "retry", type: "button" }, say("retry"));
        again.addEventListener("click", () => feed.refresh());
        this.#blank.append(h("p", { role: "alert" }, say("failed")), again);
      } else if (feed.status === "ready") {
        this.#blank.append(
          icon(...ICONS.bell),
          h("p", {}, say("empty")),
          h("p", { class: "hint" }, say("emptyHint")),
        );
      } else if (feed.status === "loading") {
        this.#blank.append(h("p", { class: "hint" }, say("loading")));
      }
      return;
    }
    this.#ends.unobserve(this.#end);
    if (feed.isCut) {
      this.#end.append(say("cut"));
    } else if (feed.hasMore && feed.error && feed.status === "ready") {
      const more = h("button", { class: "plain", part: "more", type: "button" }, say("more"));
      more.addEventListener("click", () => feed.loadMore());
      this.#end.append(more);
    } else if (feed.hasMore) {
      this.#end.append(say("loading"));
      // Observed anew, it is looked at anew: a short page may leave the end on the screen.
      this.#ends.observe(this.#end);
    }
  }

  #see(entries) {
    if (!this.#feed) return;
    for (const entry of entries) {
      const item = entry.isIntersecting && this.#item(entry.target.dataset.id);
      if (item) this.#feed.markSeen(item);
    }
  }

  #settle(target) {
    const id = target.closest("li")?.dataset.id;
    if (!id) return;
    this.#current = id;
    for (const [other, row] of this.#rows) row.isCurrent = other === id;
  }

  #move(event) {
    const rows = this.#feed.items.map((item) => this.#rows.get(item.id));
    const index = rows.findIndex((row) => row?.element.contains(event.target));
    if (index < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const to = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: rows.length - 1 }[
      event.key
    ];
    if (event.key === "Delete") {
      event.preventDefault();
      this.archive(this.#feed.items[index].id);
    } else if (to !== undefined) {
      event.preventDefault();
      rows[Math.min(Math.max(to, 0), rows.length - 1)]?.main.focus();
    }
  }

  #tellTimes() {
    for (const row of this.#rows.values()) row.tellTime(this.#speaker);
  }
}

/** One notification in the list. Its texts never change; what was done about it does. */
class Row {
  #item = null;
  #speaker;
  #word;
  #time;
  #read;
  #archive;

  constructor(item, speaker, list) {
    this.#speaker = speaker;
    const url = safeUrl(item.data?.url);
    const { parts, time, word } = describe(item, speaker);
    this.#time = time;
    this.#word = word;
    const open = (event) => list.open(item.id, event);
    const properties = { class: "main", part: "item-body", tabindex: "-1", onclick: open };
    this.main = url
      ? h("a", { ...properties, href: url }, ...parts)
      : h("button", { ...properties, type: "button" }, ...parts);
    const act = (name, onclick) =>
      h("button", { class: "act", part: `action action-${name}`, type: "button", onclick });
    this.#read = act("read", () => list.toggleRead(item.id));
    this.#archive = act("archive", () => list.archive(item.id));
    this.#archive.append(icon(...ICONS.archive));
    label(this.#archive, speaker.say("archive"));
    this.element = h(
      "li",
      { class: "item", part: "item", "data-id": item.id },
      h("span", { class: "dot", part: "dot", "aria-hidden": "true" }),
      this.main,
      h("span", { class: "actions", part: "actions" }, this.#read, this.#archive),
    );
    if (isUrgent(item)) this.element.classList.add("urgent");
  }

  /** Whether the Tab key leads here. */
  set isCurrent(isCurrent) {
    for (const element of [this.main, this.#read, this.#archive]) {
      element.tabIndex = isCurrent ? 0 : -1;
    }
  }

  update(item) {
    if (item === this.#item) return;
    const isUnread = !item.read_at;
    if (this.#item === null || isUnread !== !this.#item.read_at) {
      const say = (key) => this.#speaker.say(key);
      this.element.classList.toggle("unread", isUnread);
      this.element.setAttribute("part", isUnread ? "item item-unread" : "item");
      this.#word.textContent = isUnread ? `${say("isUnread")}. ` : "";
      this.#read.replaceChildren(icon(...(isUnread ? ICONS.read : ICONS.unread)));
      label(this.#read, say(isUnread ? "read" : "unread"));
    }
    this.#item = item;
  }

  tellTime(speaker) {
    const text = speaker.ago(this.#time.dateTime);
    if (this.#time.textContent !== text) this.#time.textContent = text;
  }
}

export function isUrgent(item) {
  return item.priority === "critical" || item.priority === "high";
}

/** What is shown of a notification, in a row and in a toast. All of it is text. */
export function describe(item, speaker) {
  const word = h("span", { class: "sr" });
  const time = h(
    "time",
    { datetime: item.created_at, title: speaker.at(item.created_at) },
    speaker.ago(item.created_at),
  );
  const meta = [time];
  if (item.category) {
    meta.unshift(h("span", { class: "category", part: "category", dir: "auto" }, item.category));
  }
  if (isUrgent(item)) {
    meta.unshift(h("span", { class: "urgent-word" }, speaker.say("urgent")));
  }
  const parts = [
    word,
    item.title && h("span", { class: "title", part: "title", dir: "auto" }, item.title),
    item.message && h("span", { class: "message", part: "message", dir: "auto" }, item.message),
    h("span", { class: "meta", part: "meta" }, ...meta),
  ];
  return { parts: parts.filter(Boolean), time, word };
}

export function label(button, text) {
  button.setAttribute("aria-label", text);
  button.title = text;
}
