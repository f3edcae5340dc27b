// How long to wait before the next try, so that nobody's return brings a server down.

const BASE = 500;
const CAP = 30_000;

export class Backoff {
  #failures = 0;

  /** Milliseconds until the next try: any moment of a span that doubles, up to half a minute. */
  next(random = Math.random) {
    const span = Math.min(CAP, BASE * 2 ** (this.#failures + 1));
    this.#failures = Math.min(this.#failures + 1, 16);
    return BASE + random() * (span - BASE);
  }

  reset() {
    this.#failures = 0;
  }
}
