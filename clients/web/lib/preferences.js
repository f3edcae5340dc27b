// The preferences panel: every switch is saved by itself, as soon as it is moved.

import { h } from "./dom.js";

/** Channels that are always offered; the others where the user has said something about them. */
const CHANNELS = ["in_app", "email", "sms", "push", "web_push"];

/** Categories offered at most. */
const CATEGORIES_MAX = 50;

const LOCALES = ["en", "ru", "ar"];

/** States of web push in which there is something to say about it. */
const PUSH_SHOWN = ["on", "off", "denied"];

export class PreferencesView {
  #client;
  #speaker;
  #feed;
  #push;
  #preferences = null;
  #said = h("p", { class: "said", role: "status", part: "preferences-status" });
  /** One change after the other, so that the last one wins. */
  #saving = Promise.resolve();
  #ids = 0;

  /** `push` says where the service worker of the page is. */
  constructor({ client, speaker, feed, push }) {
    this.#client = client;
    this.#speaker = speaker;
    this.#feed = feed;
    this.#push = push;
    this.element = h("div", { class: "scroll prefs", part: "preferences" });
  }

  /** Reads what the user wants, and shows it. */
  async load() {
    const say = (key) => this.#speaker.say(key);
    this.element.replaceChildren(h("p", { class: "hint" }, say("loading")));
    try {
      const [preferences, push] = await Promise.all([
        this.#client.preferences(),
        this.#client.pushState(this.#push).catch(() => "unsupported"),
      ]);
      this.#preferences = preferences;
      this.#render(push);
    } catch {
      const again = h("button", { class: "plain", type: "button" }, say("retry"));
      again.addEventListener("click", () => this.load());
      const failed = h("p", { role: "alert" }, say("failed"));
      this.element.replaceChildren(h("div", { class: "blank" }, failed, again));
    }
  }

  #render(push) {
    const preferences = this.#preferences;
    const say = (key) => this.#speaker.say(key);
    const wanted = preferences.channels ?? {};
    const quiet = preferences.quiet_hours ?? {};
    const isQuiet = quiet.enabled ?? false;
    const times = [
      this.#time(say("prefsFrom"), quiet.start ?? "22:00", "start", isQuiet),
      this.#time(say("prefsTo"), quiet.end ?? "08:00", "end", isQuiet),
    ];
    const channels = [...new Set([...CHANNELS, ...Object.keys(wanted)])];
    const focused = this.element.getRootNode().activeElement?.dataset?.key;
    this.element.replaceChildren(
      this.#switch(say("prefsEnabled"), preferences.enabled, (enabled) => ({ enabled }), "enabled"),
      this.#group(say("prefsChannels"), [
        ...channels.map((name) => {
          const text = this.#speaker.has(`channel_${name}`) ? say(`channel_${name}`) : name;
          const isOn = wanted[name]?.enabled ?? true;
          const patch = (enabled) => ({ channels: { [name]: { enabled } } });
          return this.#switch(text, isOn, patch, `channels/${name}`);
        }),
        PUSH_SHOWN.includes(push) ? this.#pushSwitch(push) : null,
      ]),
      this.#categories(preferences.categories ?? {}),
      this.#group(say("prefsQuiet"), [
        this.#switch(
          say("prefsQuietOn"),
          isQuiet,
          (enabled) => {
            for (const row of times) row.querySelector("input").disabled = !enabled;
            return { quiet_hours: { enabled } };
          },
          "quiet/enabled",
        ),
        ...times,
      ]),
      this.#group(say("prefsRegion"), [
        this.#choice(say("prefsLocale"), this.#locales(), preferences.locale, "locale"),
        this.#choice(
          say("prefsTimezone"),
          zones(preferences.timezone),
          preferences.timezone,
          "timezone",
        ),
      ]),
      this.#said,
    );
    const again = focused && this.element.querySelector(`[data-key="${CSS.escape(focused)}"]`);
    again?.focus();
  }

  #group(legend, rows) {
    return h("fieldset", { part: "preferences-group" }, h("legend", {}, legend), ...rows);
  }

  /** Those that the user has said something about, and those of what is in the list. */
  #categories(said) {
    const seen = this.#feed.items.map((item) => item.category).filter(Boolean);
    const names = [...new Set([...Object.keys(said), ...seen])].sort().slice(0, CATEGORIES_MAX);
    if (names.length === 0) return null;
    return this.#group(
      this.#speaker.say("prefsCategories"),
      names.map((name) => {
        const patch = (enabled) => ({ categories: { [name]: { enabled } } });
        return this.#switch(name, said[name]?.enabled ?? true, patch, `categories/${name}`);
      }),
    );
  }

  #switch(text, isOn, patch, key) {
    const input = this.#input({ type: "checkbox", role: "switch", class: "switch" }, key);
    input.checked = isOn;
    input.addEventListener("change", () => this.#save(patch(input.checked)));
    return this.#row(text, input);
  }

  #time(text, value, key, isUsed) {
    const input = this.#input({ type: "time", required: true }, `quiet/${key}`);
    input.value = value.slice(0, 5);
    input.disabled = !isUsed;
    input.addEventListener("change", () => {
      if (input.value) this.#save({ quiet_hours: { [key]: input.value } });
    });
    return this.#row(text, input);
  }

  #choice(text, options, value, key) {
    const select = h("select", { id: this.#id(), "data-key": key });
    for (const [name, shown] of options) select.append(h("option", { value: name }, shown));
    select.value = value ?? "";
    select.addEventListener("change", () => this.#save({ [key]: select.value || null }));
    return this.#row(text, select);
  }

  #pushSwitch(push) {
    const input = this.#input({ type: "checkbox", role: "switch", class: "switch" }, "push");
    input.checked = push === "on";
    input.disabled = push === "denied";
    input.addEventListener("change", async () => {
      try {
        await this.#client[input.checked ? "enablePush" : "disablePush"](this.#push);
        this.#tell("prefsSaved");
      } catch {
        input.checked = !input.checked;
        const isDenied = globalThis.Notification?.permission === "denied";
        this.#tell(isDenied ? "prefsPushDenied" : "prefsFailed");
      }
    });
    return this.#row(this.#speaker.say("prefsPush"), input);
  }

  #input(properties, key) {
    return h("input", { ...properties, id: this.#id(), "data-key": key });
  }

  #row(text, input) {
    return h("div", { class: "row" }, h("label", { for: input.id, dir: "auto" }, text), input);
  }

  #locales() {
    const known = [...LOCALES, this.#speaker.language, this.#preferences.locale].filter(Boolean);
    const options = [...new Set(known)].map((tag) => [tag, nameOf(tag)]);
    return [["", this.#speaker.say("prefsAutomatic")], ...options];
  }

  #save(patch) {
    this.#saving = this.#saving.then(async () => {
      try {
        this.#preferences = await this.#client.updatePreferences(patch);
        this.#tell("prefsSaved");
      } catch {
        // What is shown is what is stored.
        await this.load();
        this.#tell("prefsFailed");
      }
    });
  }

  #tell(key) {
    this.#said.textContent = this.#speaker.say(key);
  }

  #id() {
    this.#ids += 1;
    return `preference-${this.#ids}`;
  }
}

/** A language by its own name. */
function nameOf(tag) {
  try {
    const name = new Intl.DisplayNames([tag], { type: "language" }).of(tag);
    return name ? name.charAt(0).toLocaleUpperCase(tag) + name.slice(1) : tag;
  } catch {
    return tag;
  }
}

/** Time zones to choose from; the browser's own comes first. */
function zones(chosen) {
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const all = Intl.supportedValuesOf?.("timeZone") ?? [];
  const names = [...new Set([own, chosen, ...all].filter(Boolean))];
  return [["", "—"], ...names.map((name) => [name, name.replaceAll("_", " ")])];
}
