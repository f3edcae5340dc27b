// The headless client: a user's notifications, live and in lists, without any page around them.
//
// const client = new PostriderClient({ server: "https://notify.example.com", getToken });
// client.addEventListener("notification", (event) => console.log(event.detail.title));
// client.connect();

import { Connection } from "./lib/connection.js";
import { PostriderError, Session } from "./lib/session.js";
import { disablePush, enablePush, pushState } from "./lib/push.js";

export { PostriderError } from "./lib/session.js";
export { Feed } from "./lib/feed.js";
export { safeUrl } from "./lib/dom.js";

/** What a list asks for at once, unless it says otherwise. */
const PAGE_ITEMS = 20;

/** For how long after a count an arrival may have been in it already. */
const COUNT_DOUBT = 3_000;

/** How long arrivals in doubt are gathered before the server is asked, and up to that much more. */
const RECOUNT_PAUSE = 1_000;

/** Where the feed is heard over; `auto` takes the socket and falls back to polling. */
const TRANSPORTS = ["auto", "websocket", "poll"];

export class PostriderClient extends EventTarget {
  #session;
  #connection;
  #state = "idle";
  #transport = null;
  #seq;
  #unread = 0;
  #isGreeted = false;
  /** Where the feed stood at the last hello, whose count includes everything up to there. */
  #countedTo = 0;
  #countedAt = -Infinity;
  #recountTimer = null;

  /**
   * @param {object} options
   * @param {string} [options.server] where Postrider is; the page's own origin if not said
   * @param {string} [options.token] a user token that lasts as long as the page
   * @param {() => Promise<string>} [options.getToken] asked for a token whenever one is needed
   * @param {number} [options.lastSeq] the last notification that was seen, to go on after it
   * @param {"auto"|"websocket"|"poll"} [options.transport]
   */
  constructor({ server = "", token, getToken, lastSeq, transport = "auto" } = {}) {
    super();
    if (!TRANSPORTS.includes(transport)) {
      throw new TypeError(`transport must be one of ${TRANSPORTS.join(", ")}`);
    }
    this.#seq = Number.isSafeInteger(lastSeq) ? lastSeq : undefined;
    const onLeave = () => this.#forget();
    this.#session = new Session({ server, token, getToken, onLeave });
    this.#connection = new Connection(this.#session, {
      transport,
      lastSeq: () => this.#seq,
      onFrame: (frame) => this.#hear(frame),
      onState: (state, over) => this.#enter(state, over),
    });
  }

  /** `idle`, `connecting`, `live`, `waiting`, `unauthorized` or `closed`. */
  get state() {
    return this.#state;
  }

  /** `websocket` or `poll` while live, else null. */
  get transport() {
    return this.#transport;
  }

  /** The number of the last notification heard; undefined before the first hello. */
  get seq() {
    return this.#seq;
  }

  /** How many are unread, as the server last said. */
  get unread() {
    return this.#unread;
  }

  get server() {
    return this.#session.server;
  }

  /**
   * Another token. Of the same user, the feed goes on where it was; of another, or null, nothing of
   * the last user stays.
   */
  set token(token) {
    if (this.#session.use(token)) this.#connection.restart();
    else this.#connection.wake();
  }

  /** Listens, until `close`. */
  connect() {
    this.#connection.start();
  }

  /** Stops listening. It may connect again, and goes on where it was. */
  close() {
    this.#connection.stop();
    clearTimeout(this.#recountTimer);
    this.#enter("closed", null);
  }

  /**
   * One page of the user's in-app notifications, newest first.
   *
   * What went over other channels only is left out, so a page may have fewer items than asked for.
   */
  async list({ cursor, limit = PAGE_ITEMS, unread = false, archived = false } = {}) {
    const query = new URLSearchParams({ channel: "in_app", limit, archived });
    if (unread) query.set("unread", "true");
    if (cursor) query.set("cursor", cursor);
    const page = await this.#session.get(`/v1/notifications?${query}`);
    return {
      items: page.items.filter((item) => item.in_app).map(fromList),
      next_cursor: page.next_cursor ?? null,
    };
  }

  /** Asks the server how many are unread. */
  async fetchUnread() {
    return this.#countOf(this.#session.get("/v1/notifications/unread-count"));
  }

  markRead(id) {
    return this.#mark(id, "read");
  }

  markUnread(id) {
    return this.#mark(id, "unread");
  }

  /** It was shown, which is less than read. */
  markSeen(id) {
    return this.#mark(id, "seen");
  }

  archive(id) {
    return this.#mark(id, "archive");
  }

  unarchive(id) {
    return this.#mark(id, "unarchive");
  }

  /** Marks everything up to a number as read: by default, all that was heard of. */
  async markAllRead(upToSeq = this.#seq) {
    if (upToSeq === undefined) {
      throw new PostriderError("not connected yet: say up to which seq", { status: 0 });
    }
    return this.#countOf(this.#session.post("/v1/notifications/ack", { up_to_seq: upToSeq }));
  }

  /** All that the user wants to be told, and how. */
  preferences() {
    return this.#session.get("/v1/preferences");
  }

  /** Merges a part into the preferences, and answers all of them. `null` is the default again. */
  updatePreferences(patch) {
    return this.#session.post("/v1/preferences", patch);
  }

  /** Whether this browser can be, is, or will not be notified while the page is closed. */
  pushState(options) {
    return pushState(this.#session, options);
  }

  /** Asks for permission, subscribes this browser, and stores the subscription. */
  enablePush(options) {
    return enablePush(this.#session, options);
  }

  /** Ends the subscription of this browser. */
  disablePush(options) {
    return disablePush(this.#session, options);
  }

  async #mark(id, verb) {
    const path = `/v1/notifications/${encodeURIComponent(id)}/${verb}`;
    return this.#countOf(this.#session.post(path));
  }

  /** Takes an answer's count. What arrived while it was on its way may be in it, or not. */
  async #countOf(asking) {
    const seq = this.#seq;
    const answer = await asking;
    this.#countedAt = Date.now();
    this.#count(answer.unread);
    if (seq !== this.#seq) this.#planRecount();
    return this.#unread;
  }

  #planRecount() {
    clearTimeout(this.#recountTimer);
    const pause = RECOUNT_PAUSE * (1 + Math.random());
    this.#recountTimer = setTimeout(async () => {
      if (this.#state !== "live") return;
      // A failure is mended by the next hello.
      await this.fetchUnread().catch(() => {});
      // Else a steady stream would be counted without end.
      this.#countedAt = -Infinity;
    }, pause);
  }

  #hear(frame) {
    switch (frame.type) {
      case "hello":
        this.#greet(frame);
        break;
      case "notification":
        this.#arrive(frame);
        break;
      case "read":
        this.#countedAt = Date.now();
        this.#say("read", { ids: frame.ids, unread: frame.unread });
        this.#count(frame.unread);
        break;
      case "unread":
        this.#count(frame.unread);
        break;
      case "resync":
        this.#seq = frame.seq;
        this.#say("resync", { seq: frame.seq });
        break;
      case "error":
        this.#say("error", new PostriderError(frame.detail, { code: frame.code, status: 0 }));
        break;
      default:
      // A later server may say more than is understood here.
    }
  }

  #greet(frame) {
    // Whoever said where they stand hears the rest now; who did not begins here.
    this.#seq ??= frame.seq;
    const isFirst = !this.#isGreeted;
    this.#isGreeted = true;
    this.#countedTo = frame.seq;
    this.#count(frame.unread);
    this.#say("hello", { seq: frame.seq, unread: frame.unread, isFirst });
  }

  #arrive(frame) {
    if (this.#seq !== undefined && frame.seq <= this.#seq) return;
    this.#seq = frame.seq;
    // The server counts; between two of its counts an arrival is one more.
    if (frame.seq > this.#countedTo) this.#count(this.#unread + 1);
    if (Date.now() - this.#countedAt < COUNT_DOUBT) this.#planRecount();
    this.#say("notification", fromFrame(frame));
  }

  #count(unread) {
    if (!Number.isSafeInteger(unread) || unread === this.#unread) return;
    this.#unread = Math.max(0, unread);
    this.#say("unread", { unread: this.#unread });
  }

  /** The user has left: the next one begins with nothing of theirs. */
  #forget() {
    clearTimeout(this.#recountTimer);
    this.#seq = undefined;
    this.#isGreeted = false;
    this.#countedTo = 0;
    this.#countedAt = -Infinity;
    this.#connection.restart();
    this.#count(0);
    this.#say("reset", null);
  }

  #enter(state, transport) {
    if (state === this.#state && transport === this.#transport) return;
    this.#state = state;
    this.#transport = transport;
    this.#say("state", { state, transport });
  }

  #say(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** A notification as a list shows it. */
function fromList(item) {
  const entry = item.in_app;
  return {
    id: item.id,
    seq: entry.seq,
    title: entry.title ?? null,
    message: entry.message ?? "",
    data: entry.data ?? null,
    category: item.category ?? null,
    priority: item.priority ?? "normal",
    template: item.template ?? null,
    created_at: item.created_at,
    seen_at: entry.seen_at ?? null,
    read_at: entry.read_at ?? null,
    archived_at: entry.archived_at ?? null,
  };
}

/** A notification as the feed tells it: nobody has looked at it yet. */
function fromFrame(frame) {
  return {
    id: frame.id,
    seq: frame.seq,
    title: frame.title ?? null,
    message: frame.message ?? "",
    data: frame.data ?? null,
    category: frame.category ?? null,
    priority: frame.priority ?? "normal",
    template: frame.template ?? null,
    created_at: frame.created_at,
    seen_at: null,
    read_at: null,
    archived_at: null,
  };
}
