// One user's requests: where they go, with which token, and what is wrong when they fail.

/** How often a page's `getToken` is called at most, in a row of tokens that were no good. */
const TOKEN_PAUSE_MIN = 1_000;
const TOKEN_PAUSE_MAX = 30_000;

/** How long a request may take; a long poll says its own. */
const REQUEST_MAX = 20_000;

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

  constructor({ server, token, getToken }) {
    this.server = String(server ?? "").replace(/\/+$/, "");
    this.#token = token || null;
    this.#getToken = getToken;
  }

  set token(token) {
    this.#token = token || null;
    this.#refused = 0;
    this.#askedAt = -Infinity;
  }

  /** Whether a token can be had at all. */
  get canAsk() {
    return typeof this.#getToken === "function";
  }

  get(path, options) {
    return this.#send("GET", path, undefined, options);
  }

  post(path, body) {
    return this.#send("POST", path, body);
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
    this.#token = token;
    return token;
  }

  async #send(method, path, body, { timeout = REQUEST_MAX, signal } = {}) {
    const token = await this.tokenNow();
    try {
      const answer = await this.#sendWith(token, method, path, body, timeout, signal);
      this.accept();
      return answer;
    } catch (error) {
      if (!error.isUnauthorized) throw error;
      this.refuse(token);
      if (!this.canAsk) throw error;
      const another = await this.tokenNow();
      const answer = await this.#sendWith(another, method, path, body, timeout, signal);
      this.accept();
      return answer;
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

function parse(text) {
  try {
    return text === "" ? null : JSON.parse(text);
  } catch {
    return null;
  }
}
