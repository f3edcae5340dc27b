// Keeps hearing the feed: over a socket, or by polling where sockets do not get through.
//
// One try follows the other, with a pause between them that grows while they fail. Where the feed
// was left is the caller's `lastSeq`, so that it does not matter how often a connection is lost.

import { Backoff } from "./backoff.js";
import { PostriderError } from "./session.js";

/** Sockets in a row that do not open, before polling is tried. */
const SOCKETS_FAILED_MAX = 3;

/** How long polling goes on before a socket is tried again. */
const POLLING_TIME = 60_000;

/** How long a socket may take until it says hello. */
const HELLO_MAX = 10_000;

/** A connection that held for so long was a good one: the next pause is short again. */
const STABLE_AFTER = 10_000;

/** How often a silent socket is asked whether it is still there, and how long it may take. */
const PING_INTERVAL = 25_000;
const PONG_MAX = 8_000;

/** Seconds that the server holds a poll open, and how long an answer may take altogether. */
const POLL_WAIT = 25;

/** Seconds after news: what is marked between two polls shows in the number when the next ends. */
const POLL_SOON = 2;
const POLL_MAX = 40_000;

/** The shortest time between two tries, whatever wakes them. */
const TRY_PAUSE = 500;

/** Close codes that mean something here. */
const GOING_AWAY = 1001;
const BAD_CREDENTIAL = 4401;

export class Connection {
  #session;
  #transport;
  #lastSeq;
  #onFrame;
  #onState;
  #backoff = new Backoff();
  #run = null;
  /** Ends the try that is under way, and no other. */
  #try = new AbortController();
  /** Since when the feed is heard; it is not, as long as this is to come. */
  #liveSince = Infinity;
  #socket = null;
  #socketsFailed = 0;
  #socketAt = 0;
  /** Whether the server has tickets; older ones take the token as a subprotocol. */
  #hasTickets = true;
  #endPause = () => {};
  #listeners = null;

  constructor(session, { transport, lastSeq, onFrame, onState }) {
    this.#session = session;
    this.#transport = transport;
    this.#lastSeq = lastSeq;
    this.#onFrame = onFrame;
    this.#onState = onState;
  }

  start() {
    if (this.#run) return;
    this.#run = new AbortController();
    this.#listen(this.#run.signal);
    this.#keepTrying(this.#run.signal);
  }

  stop() {
    this.#run?.abort();
    this.#run = null;
    this.#socket?.close(1000);
    this.#endPause();
  }

  /** Something has changed that makes another try worth while. */
  wake() {
    this.#endPause();
  }

  /** Leaves what was opened with the last token, and begins anew with another. */
  restart() {
    if (!this.#run) return;
    this.#try.abort();
    this.#socket?.close(1000);
    this.#onState("connecting", null);
    this.#endPause();
  }

  #listen(signal) {
    const on = (target, type, listener) => target?.addEventListener?.(type, listener, { signal });
    on(globalThis, "online", () => this.#look());
    on(globalThis, "offline", () => this.#look());
    on(globalThis.document, "visibilitychange", () => {
      if (globalThis.document.visibilityState === "visible") this.#look();
    });
  }

  /** The network or the page came back: a socket may be dead without knowing it. */
  #look() {
    if (this.#socket) this.#socket.check();
    else this.wake();
  }

  async #keepTrying(signal) {
    while (!signal.aborted) {
      this.#try = new AbortController();
      const trying = AbortSignal.any([signal, this.#try.signal]);
      this.#onState("connecting", null);
      const startedAt = Date.now();
      this.#liveSince = Infinity;
      let ending;
      try {
        ending = this.#polls() ? await this.#poll(trying) : await this.#hear(trying);
      } catch (error) {
        ending = { error };
      }
      if (signal.aborted) return;
      if (trying.aborted) {
        await this.#pause(Math.max(0, startedAt + TRY_PAUSE - Date.now()), signal);
        continue;
      }
      if (Date.now() - this.#liveSince > STABLE_AFTER) this.#backoff.reset();
      const error = ending.error;
      const isLocked = error instanceof PostriderError && error.isUnauthorized;
      this.#onState(isLocked ? "unauthorized" : "waiting", null);
      // Without a token nothing will get better before the page has another.
      const wait = isLocked && !this.#session.canGoOn ? Infinity : ending.wait;
      await this.#pause(wait ?? this.#backoff.next(), signal);
    }
  }

  #enterLive(transport) {
    this.#liveSince = Date.now();
    this.#onState("live", transport);
  }

  #polls() {
    if (this.#transport !== "auto") return this.#transport === "poll";
    return this.#socketsFailed >= SOCKETS_FAILED_MAX && Date.now() < this.#socketAt;
  }

  /** Waits, unless something wakes it; never so short that tries become a storm. */
  async #pause(milliseconds, signal) {
    const least = new Promise((done) => setTimeout(done, Math.min(TRY_PAUSE, milliseconds)));
    await new Promise((done) => {
      this.#endPause = done;
      if (signal.aborted) done();
      else if (milliseconds !== Infinity) setTimeout(done, milliseconds);
    });
    this.#endPause = () => {};
    await least;
  }

  /** Hears the feed over one socket, until it ends. */
  async #hear(signal) {
    const { address, protocols, token, hasTicket } = await this.#socketAddress(signal);
    if (signal.aborted) return {};
    const onFrame = (frame) => {
      if (signal.aborted) return;
      if (frame.type === "hello") {
        this.#socketsFailed = 0;
        this.#session.accept();
        this.#enterLive("websocket");
      }
      this.#onFrame(frame);
    };
    const { code, reason, hasOpened } = await this.#useSocket(address, protocols, onFrame);
    // A token that has just bought a ticket is good: then it was the ticket.
    if (code === BAD_CREDENTIAL && (hasOpened || !hasTicket)) {
      this.#session.refuse(token);
      if (!this.#session.canGoOn) {
        return { error: new PostriderError(reason || "the token was refused", { status: 401 }) };
      }
      // It ran out, as tokens do; the next one is taken at once, if this one was any good.
      return hasOpened ? { wait: TRY_PAUSE * Math.random() } : {};
    }
    if (!hasOpened) {
      this.#socketsFailed += 1;
      if (this.#socketsFailed >= SOCKETS_FAILED_MAX) this.#socketAt = Date.now() + POLLING_TIME;
      // Polling may get through at once.
      if (this.#polls()) return { wait: 0 };
    }
    return code === GOING_AWAY ? { wait: waitIn(reason) } : {};
  }

  /** One socket from its opening to its end. A page's policy may forbid even the attempt. */
  async #useSocket(address, protocols, onFrame) {
    let socket;
    try {
      socket = new FeedSocket(address, protocols, onFrame);
      this.#socket = socket;
      return await socket.ended;
    } catch {
      return { code: 1006, reason: "", hasOpened: false };
    } finally {
      if (this.#socket === socket) this.#socket = null;
    }
  }

  /** Where the next socket goes, with a ticket rather than a token in its address. */
  async #socketAddress(signal) {
    const query = new URLSearchParams();
    const protocols = ["postrider.v1"];
    const token = await this.#session.tokenNow();
    if (this.#hasTickets) {
      try {
        const { ticket } = await this.#session.post("/v1/ws/ticket", undefined, { signal });
        query.set("ticket", ticket);
      } catch (error) {
        if (error.status !== 404) throw error;
        this.#hasTickets = false;
      }
    }
    if (!this.#hasTickets) protocols.push(`bearer.${token}`);
    // Said last: a token may turn out to be another user's.
    const seq = this.#lastSeq();
    if (seq !== undefined) query.set("last_seq", seq);
    const address = this.#session.address(`/v1/ws?${query}`, "ws");
    const hasTicket = this.#hasTickets;
    return { address, protocols, token: await this.#session.tokenNow(), hasTicket };
  }

  /** Hears the feed by polling, until a socket is due again. */
  async #poll(signal) {
    let isGreeted = false;
    let isNews = true;
    let unread;
    const say = (frame) => {
      if (!signal.aborted) this.#onFrame(frame);
    };
    while (!signal.aborted) {
      const query = new URLSearchParams();
      const seq = this.#lastSeq();
      if (seq !== undefined) query.set("after_seq", seq);
      // The first answer says where the feed stands, and so that polling works.
      const wait = isNews ? POLL_SOON : POLL_WAIT;
      query.set("wait", isGreeted ? `${wait}s` : "0s");
      const askedAt = Date.now();
      const answer = await this.#session.get(`/v1/poll?${query}`, { timeout: POLL_MAX, signal });
      if (signal.aborted) return {};
      if (!isGreeted) {
        this.#enterLive("poll");
        say({ type: "hello", seq: answer.seq, unread: answer.unread });
      }
      const { items } = answer;
      // The gap lies before what comes with it.
      if (answer.resync) say({ type: "resync", seq: items[0] ? items[0].seq - 1 : answer.seq });
      for (const item of items) say({ ...item, type: "notification" });
      // What was marked shows in the number, or in an answer that came early without any news.
      const isEarly = Date.now() - askedAt < (wait - 1) * 1000;
      const isMark =
        isGreeted && (answer.unread !== unread + items.length || (isEarly && !items.length));
      isNews = !isGreeted || isMark || items.length > 0;
      isGreeted = true;
      unread = answer.unread;
      say(isMark ? { type: "read", ids: [], unread } : { type: "unread", unread });
      if (this.#transport === "auto" && Date.now() >= this.#socketAt) return { wait: 0 };
      // A server that stops answers at once, and with nothing.
      const early = TRY_PAUSE - (Date.now() - askedAt);
      if (!items.length && early > 0) await new Promise((done) => setTimeout(done, early));
    }
    return {};
  }
}

/** One socket, from its opening to its end. */
class FeedSocket {
  #socket;
  #end;
  #hasOpened = false;
  #hello;
  #ping;
  #pong;

  constructor(address, protocols, onFrame) {
    this.ended = new Promise((done) => {
      this.#end = (code, reason) => {
        clearTimeout(this.#hello);
        clearInterval(this.#ping);
        clearTimeout(this.#pong);
        done({ code, reason, hasOpened: this.#hasOpened });
      };
    });
    this.#socket = new WebSocket(address, protocols);
    this.#socket.onmessage = (message) => this.#take(message, onFrame);
    this.#socket.onclose = (event) => this.#end(event.code, event.reason);
    this.#hello = setTimeout(() => this.#giveUp(), HELLO_MAX);
    this.#ping = setInterval(() => this.check(), PING_INTERVAL);
  }

  /** Asks whether the server still hears us. */
  check() {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    this.#socket.send('{"type":"ping"}');
    this.#pong ??= setTimeout(() => this.#giveUp(), PONG_MAX);
  }

  close(code) {
    this.#socket.close(code);
    this.#end(code, "");
  }

  #take(message, onFrame) {
    // Whatever it says, it is there.
    clearTimeout(this.#pong);
    this.#pong = undefined;
    let frame;
    try {
      frame = JSON.parse(message.data);
    } catch {
      return;
    }
    if (frame.type === "hello") {
      this.#hasOpened = true;
      clearTimeout(this.#hello);
    }
    onFrame(frame);
  }

  /** A goodbye to nobody takes minutes; it is not waited for. */
  #giveUp() {
    this.#socket.onmessage = null;
    this.#socket.onclose = null;
    this.#socket.close();
    this.#end(1006, "");
  }
}

/** How long the server asks to stay away, where it says so: `reconnect_in_ms=1200`. */
function waitIn(reason) {
  const said = /reconnect_in_ms=(\d{1,6})\b/.exec(reason);
  return said ? Number(said[1]) : undefined;
}
