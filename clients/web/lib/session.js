// One user's requests: where they go, with which token, and what is wrong when they fail.

/** How often a page's `getToken` is called at most, in a row of tokens that were no good. */
const TOKEN_PAUSE_MIN = 1_000;
const TOKEN_PAUSE_MAX = 30_000;

/** How long a request may take; a long poll says its own. */
const REQUEST_MAX = 20_000;

/** The code of errors that are nobody's any more: whoever asked has signed out. */
export const OTHER_USER = "other_user";

/** What went wrong. `status` is 0 where no answer came. */
export class PostriderError extends Error {
  constructor(message, { status = 0, code, problem, cause } = {}) {
    super(message, { cause });
    this.name = "PostriderError";
    this.status = status;
    this.code = code;
    this.problem = problem;
  }

  /** Whether another token is needed. */
  get isUnauthorized() {
    return this.status === 401;
  }
}

export class Session {
  #token;
  #getToken;
  #asking = null;
  /** Tokens in a row that the server did not take. */
  #refused = 0;
  #askedAt = -Infinity;
  /** Whose the last token was; undefined if there was none. */
  #owner;
  #onLeave;

  /** `onLeave` is told when a token is another user's than the last, or is taken away. */
  constructor({ server, token, getToken, onLeave }) {
    this.server = String(server ?? "").replace(/\/+$/, "");
    this.#getToken = getToken;
    this.#onLeave = onLeave;
    this.#take(token || null);
  }

  /** Goes on with a token of the page's; answers whether that changes anything. */
  use(token) {
    const isNews = !token || token !== this.#token;
    this.#refused = 0;
    this.#askedAt = -Infinity;
    this.#take(token || null);
    return isNews;
  }

  /** Whether the page can be asked for tokens. */
  get canAsk() {
    return typeof this.#getToken === "function";
  }

  /** Whether there is a token, or one can be had. */
  get canGoOn() {
    return this.#token !== null || this.canAsk;
  }

  get(path, options) {
    return this.#send("GET", path, undefined, options);
  }

  post(path, body, options) {
    return this.#send("POST", path, body, options);
  }

  delete(path, body) {
    return this.#send("DELETE", path, body);
  }

  /** A path of the server as an absolute address; `scheme` is `http` or `ws`. */
  address(path, scheme = "http") {
    const base = globalThis.document?.baseURI ?? globalThis.location?.href;
    const url = new URL(this.server + path, base);
    if (scheme === "ws") url.protocol = url.protocol.replace("http", "ws");
    return url.href;
  }

  /** The token to use now. Asks the page for one where there is none. */
  async tokenNow() {
    if (this.#token) return this.#token;
    if (!this.canAsk) throw unauthorized("a token is needed");
    // However many want one, the page is asked once.
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  /** Says that the server did not take `token`. */
  refuse(token) {
    if (token !== this.#token) return;
    this.#refused += 1;
    // One that the page gave for good stays bad.
    this.#token = null;
  }

  /** Says that the server took the token. */
  accept() {
    this.#refused = 0;
  }

  async #ask() {
    // The first refusal is a token that has run out. Only then does asking become slower.
    const pause = Math.min(TOKEN_PAUSE_MAX, TOKEN_PAUSE_MIN * 2 ** Math.max(0, this.#refused - 1));
    const wait = this.#refused > 1 ? this.#askedAt + pause - Date.now() : 0;
    if (wait > 0) throw unauthorized("the last token was refused");
    this.#askedAt = Date.now();
    let token;
    try {
      token = await this.#getToken();
    } catch (cause) {
      throw new PostriderError("the page has no token", { status: 0, cause });
    }
    if (typeof token !== "string" || token === "") throw unauthorized("the page has no token");
    // One that was set meanwhile is newer.
    if (!this.#token) this.#take(token);
    return this.#token;
  }

  #take(token) {
    const before = this.#owner;
    if (token === null) this.#owner = undefined;
    else if (token !== this.#token) this.#owner = ownerOf(token);
    this.#token = token;
    if (before !== undefined && before !== this.#owner) this.#onLeave();
  }

  async #send(method, path, body, { timeout = REQUEST_MAX, signal } = {}) {
    const asker = this.#owner;
    const token = await this.tokenNow();
    const owner = asker ?? this.#owner;
    // What one user asked for is neither sent nor answered as another's.
    const check = () => {
      if (owner === this.#owner) return;
      throw new PostriderError("who asked has signed out", { code: OTHER_USER });
    };
    const sendWith = async (token) => {
      check();
      const answer = await this.#sendWith(token, method, path, body, timeout, signal);
      check();
      this.accept();
      return answer;
    };
    try {
      return await sendWith(token);
    } catch (error) {
      check();
      if (!error.isUnauthorized) throw error;
      this.refuse(token);
      if (!this.canGoOn) throw error;
      return await sendWith(await this.tokenNow());
    }
  }

  async #sendWith(token, method, path, body, timeout, signal) {
    const headers = { authorization: `Bearer ${token}`, accept: "application/json" };
    if (body !== undefined) headers["content-type"] = "application/json";
    const limit = AbortSignal.timeout(timeout);
    let response;
    try {
      response = await fetch(this.address(path), {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: signal ? AbortSignal.any([signal, limit]) : limit,
        // A click that leaves the page is told all the same.
        keepalive: method === "POST",
        cache: "no-store",
        credentials: "omit",
      });
    } catch (cause) {
      throw new PostriderError("the server cannot be reached", { cause });
    }
    const text = await response.text();
    const answer = parse(text);
    if (response.ok) return answer;
    if (response.status === 401) {
      // A refusal that was a while in coming may be about a token long replaced.
      throw unauthorized(answer?.detail ?? "the token was refused", answer);
    }
    throw new PostriderError(answer?.detail ?? `the server answered ${response.status}`, {
      status: response.status,
      code: answer?.type,
      problem: answer,
    });
  }
}

function unauthorized(message, problem) {
  return new PostriderError(message, { status: 401, problem });
}

/** Whose token it is by its own account. One that does not say is nobody's but its own. */
function ownerOf(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (letter) => letter.charCodeAt(0));
    const { sub, tenant, bank_id } = JSON.parse(new TextDecoder().decode(bytes));
    if (sub) return JSON.stringify([tenant ?? bank_id ?? null, sub]);
  } catch {
    // Whether it is any good the server says.
  }
  return Symbol("unknown");
}

function parse(text) {
  try {
    return text === "" ? null : JSON.parse(text);
  } catch {
    return null;
  }
}
