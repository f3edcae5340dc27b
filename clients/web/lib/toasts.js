// Toasts: what has just arrived, for a few seconds, never more than a few at once.

import { h, icon, ICONS, safeUrl } from "./dom.js";
import { describe, isUrgent, label } from "./list.js";

const SHOWN_MAX = 3;

/** How long one is shown. What is critical stays until somebody takes it away. */
const SHOWN_FOR = 6_000;

/** How long arrivals are gathered before they are said aloud. */
const SAY_PAUSE = 250;

export class Toasts {
  #speaker;
  #onOpen;
  #onMore;
  #toasts = new Map();
  /** How many came while there was no room. */
  #more = 0;
  #isHeld = false;
  #unsaid = [];
  #sayTimer = null;
  #moreButton;

  constructor({ speaker, onOpen, onMore }) {
    this.#speaker = speaker;
    this.#onOpen = onOpen;
    this.#onMore = onMore;
    this.element = h("div", { class: "toasts", part: "toasts", role: "region", popover: "manual" });
    this.live = h("div", { class: "sr", role: "status", "aria-live": "polite", dir: "auto" });
    this.#moreButton = h("button", { class: "plain", part: "toast-more", type: "button" });
    this.#moreButton.addEventListener("click", () => {
      this.clear();
      this.#onMore();
    });
    const hold = (isHeld) => () => this.#hold(isHeld);
    this.element.addEventListener("pointerenter", hold(true));
    this.element.addEventListener("pointerleave", hold(false));
    this.element.addEventListener("focusin", hold(true));
    this.element.addEventListener("focusout", hold(false));
    this.speaker = speaker;
  }

  set speaker(speaker) {
    this.#speaker = speaker;
    this.element.setAttribute("aria-label", speaker.say("title"));
  }

  /** Says an arrival aloud, and shows it if `isShown`. */
  arrive(item, isShown) {
    this.#sayAloud(item);
    if (!isShown) return;
    if (this.#toasts.size >= SHOWN_MAX) this.#more += 1;
    else this.#add(item);
    this.#render();
  }

  /** Takes one away, if it is shown: it was read elsewhere. */
  remove(id) {
    const toast = this.#toasts.get(id);
    if (!toast) return;
    clearTimeout(toast.timer);
    const hadFocus = toast.element.contains(this.element.getRootNode().activeElement);
    toast.element.remove();
    this.#toasts.delete(id);
    if (this.#toasts.size === 0) this.#more = 0;
    this.#render();
    // A toast that goes by itself never has the focus: then it is held.
    if (hadFocus) this.element.querySelector("button, a")?.focus();
  }

  clear() {
    for (const toast of this.#toasts.values()) clearTimeout(toast.timer);
    this.#toasts.clear();
    this.#more = 0;
    this.#isHeld = false;
    this.#render();
  }

  /** Takes away all that was said, aloud too: it was for somebody who has left. */
  forget() {
    this.clear();
    clearTimeout(this.#sayTimer);
    this.#sayTimer = null;
    this.#unsaid = [];
    this.live.textContent = "";
  }

  #add(item) {
    const url = safeUrl(item.data?.url);
    const { parts } = describe(item, this.#speaker);
    const onclick = (event) => {
      this.#onOpen(item, event);
      this.remove(item.id);
    };
    const properties = { class: "main", part: "toast-body", onclick };
    const main = url
      ? h("a", { ...properties, href: url }, ...parts)
      : h("button", { ...properties, type: "button" }, ...parts);
    const dismiss = h("button", { class: "tool", part: "toast-dismiss", type: "button" });
    dismiss.append(icon(...ICONS.close));
    label(dismiss, this.#speaker.say("dismiss"));
    dismiss.addEventListener("click", () => this.remove(item.id));
    const name = isUrgent(item) ? "toast urgent" : "toast";
    const element = h("div", { class: name, part: "toast", "data-id": item.id }, main, dismiss);
    const toast = { item, element, timer: null };
    this.#toasts.set(item.id, toast);
    if (!this.#isHeld) this.#wind(toast);
  }

  #wind(toast) {
    clearTimeout(toast.timer);
    if (toast.item.priority === "critical") return;
    toast.timer = setTimeout(() => this.remove(toast.item.id), SHOWN_FOR);
  }

  /** While somebody points at one, or is in one, none of them goes. */
  #hold(isHeld) {
    const root = this.element.getRootNode();
    this.#isHeld =
      isHeld || this.element.matches(":hover") || this.element.contains(root.activeElement);
    for (const toast of this.#toasts.values()) {
      if (this.#isHeld) clearTimeout(toast.timer);
      else this.#wind(toast);
    }
  }

  #render() {
    const elements = [...this.#toasts.values()].map((toast) => toast.element);
    for (const element of elements) if (!element.isConnected) this.element.append(element);
    for (const child of [...this.element.children]) {
      if (child !== this.#moreButton && !elements.includes(child)) child.remove();
    }
    if (this.#more > 0) {
      this.#moreButton.textContent = this.#speaker.say("arrivedMany", { count: this.#more });
      this.element.append(this.#moreButton);
    } else {
      this.#moreButton.remove();
    }
    if (!this.element.isConnected) return;
    const isOpen = this.element.matches(":popover-open");
    if (elements.length > 0 && !isOpen) this.element.showPopover();
    if (elements.length === 0 && isOpen) this.element.hidePopover();
  }

  /** Screen readers hear of the first by name, and of the others by number. */
  #sayAloud(item) {
    this.#unsaid.push(item);
    this.#sayTimer ??= setTimeout(() => {
      const [first, ...others] = this.#unsaid;
      this.#unsaid = [];
      this.#sayTimer = null;
      const title = first.title ?? first.message;
      const texts = [this.#speaker.say("arrived", { title })];
      if (others.length > 0) {
        texts.push(this.#speaker.say("arrivedMany", { count: others.length }));
      }
      this.live.textContent = texts.join(". ");
    }, SAY_PAUSE);
  }
}
