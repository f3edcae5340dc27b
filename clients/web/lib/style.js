// How the inbox looks. Everything that a page may want otherwise is a custom property or a part.

const CSS = `
:host {
  --_accent: var(--postrider-accent, light-dark(#2457d6, #8fb0ff));
  --_on-accent: var(--postrider-on-accent, light-dark(#ffffff, #10182b));
  --_background: var(--postrider-background, light-dark(#ffffff, #1b1d21));
  --_raised: var(--postrider-raised, light-dark(#f4f5f7, #26292e));
  --_text: var(--postrider-text, light-dark(#1c2024, #edeef0));
  --_muted: var(--postrider-muted, light-dark(#5b606a, #a9adb6));
  --_border: var(--postrider-border, light-dark(#dfe1e6, #373a41));
  --_badge: var(--postrider-badge, #c8241a);
  --_on-badge: var(--postrider-on-badge, #ffffff);
  --_urgent: var(--postrider-urgent, light-dark(#b3261e, #ff9d94));
  --_radius: var(--postrider-radius, 12px);
  --_width: var(--postrider-width, 24rem);
  --_height: var(--postrider-height, 34rem);
  --_shadow: var(--postrider-shadow, 0 8px 30px rgb(0 0 0 / 0.18), 0 1px 4px rgb(0 0 0 / 0.1));
  color-scheme: light dark;
  display: inline-block;
  position: relative;
  font: 400 0.9375rem / 1.4 var(--postrider-font, system-ui, sans-serif);
  color: inherit;
}
:host([theme="light"]) { color-scheme: light; }
:host([theme="dark"]) { color-scheme: dark; }
:host([hidden]) { display: none; }
*, ::before, ::after { box-sizing: border-box; }
[hidden] { display: none !important; }
.sr {
  position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap;
}
button, select, input { font: inherit; color: inherit; }
button { border: 0; background: none; padding: 0; cursor: pointer; }
:focus { outline: none; }
:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
svg { display: block; width: 1.25rem; height: 1.25rem; flex: none; }

.bell {
  position: relative; display: inline-grid; place-items: center;
  inline-size: 2.5rem; block-size: 2.5rem; border-radius: 999px;
}
.bell svg, .bell ::slotted(*) { inline-size: 1.5rem; block-size: 1.5rem; }
.bell:hover, .bell[aria-expanded="true"] {
  background: color-mix(in srgb, currentColor 10%, transparent);
}
.badge {
  position: absolute; inset-block-start: 0; inset-inline-start: 55%;
  min-inline-size: 1.15rem; padding-inline: 0.3rem; border-radius: 999px;
  background: var(--_badge); color: var(--_on-badge);
  font-size: 0.6875rem; font-weight: 600; line-height: 1.15rem; text-align: center;
  font-variant-numeric: tabular-nums; pointer-events: none;
}

.panel {
  position: fixed; inset: auto; margin: 0; padding: 0;
  inline-size: min(var(--_width), 100vw - 1rem); max-block-size: min(var(--_height), 100dvh - 1rem);
  flex-direction: column; overflow: hidden;
  color: var(--_text); background: var(--_background);
  border: 1px solid var(--_border); border-radius: var(--_radius); box-shadow: var(--_shadow);
}
.panel:popover-open { display: flex; }
.panel:focus-visible { outline: none; }
@media (max-width: 480px) {
  .panel { inset: 0 !important; inline-size: 100vw; block-size: 100dvh; max-inline-size: none;
    max-block-size: none !important; border: 0; border-radius: 0; }
}
.head {
  display: flex; align-items: center; gap: 0.25rem; flex: none;
  padding: 0.625rem 0.625rem 0.625rem 1rem; border-block-end: 1px solid var(--_border);
}
[dir="rtl"] .head { padding: 0.625rem 1rem 0.625rem 0.625rem; }
.head h2 { flex: 1; margin: 0; font-size: 1.0625rem; font-weight: 650; line-height: 1.3; }
.head .flip:not([hidden]) + h2 { margin-inline-start: 0.5rem; }
.tool {
  display: inline-grid; place-items: center; inline-size: 2.25rem; block-size: 2.25rem;
  border-radius: 8px; color: var(--_muted);
}
.tool:hover { color: var(--_text); background: var(--_raised); }
.tool:disabled { opacity: 0.4; cursor: default; background: none; }
[dir="rtl"] .flip svg { transform: scaleX(-1); }
.banner {
  flex: none; padding: 0.5rem 1rem; color: var(--_text); background: var(--_raised);
  border-block-end: 1px solid var(--_border); font-size: 0.8125rem;
}
.scroll {
  flex: 1; min-block-size: 9rem; overflow-y: auto; overscroll-behavior: contain;
  scrollbar-width: thin;
}

.list { list-style: none; margin: 0; padding: 0; }
.item {
  position: relative; display: flex; align-items: flex-start;
  border-block-end: 1px solid var(--_border);
}
.item:hover { background: var(--_raised); }
.item.unread { background: color-mix(in srgb, var(--_accent) 7%, transparent); }
.item.unread:hover { background: color-mix(in srgb, var(--_accent) 12%, transparent); }
.main {
  flex: 1; min-inline-size: 0; display: grid; gap: 0.125rem; text-align: start;
  padding: 0.75rem 0.25rem 0.75rem 2rem; color: inherit; text-decoration: none; cursor: pointer;
}
[dir="rtl"] .main { padding: 0.75rem 2rem 0.75rem 0.25rem; }
.main:focus-visible, .act:focus-visible { outline-offset: -2px; }
/* Whatever language a text is in, it begins where the others do. */
[dir="ltr"] .main > * { text-align: left; }
[dir="rtl"] .main > * { text-align: right; }
.dot {
  position: absolute; inset-block-start: 1.125rem; inset-inline-start: 0.875rem;
  inline-size: 0.5rem; block-size: 0.5rem; border-radius: 50%; background: var(--_accent);
  visibility: hidden;
}
.unread .dot { visibility: visible; }
.urgent .dot { background: var(--_urgent); }
.title { font-weight: 500; overflow-wrap: anywhere; }
.unread .title { font-weight: 650; }
.message {
  color: var(--_muted); overflow-wrap: anywhere; white-space: pre-line;
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 4; overflow: hidden;
}
.meta {
  display: flex; flex-wrap: wrap; gap: 0.125rem 0.5rem; margin-block-start: 0.125rem;
  color: var(--_muted); font-size: 0.8125rem;
}
.urgent-word { color: var(--_urgent); font-weight: 600; }
.category { overflow-wrap: anywhere; }
.actions { display: flex; flex: none; padding: 0.5rem 0.5rem 0 0; }
[dir="rtl"] .actions { padding: 0.5rem 0 0 0.5rem; }
.act {
  display: grid; place-items: center; inline-size: 2rem; block-size: 2rem; border-radius: 8px;
  color: var(--_muted); opacity: 0;
}
.item:hover .act, .item:focus-within .act { opacity: 1; }
@media (hover: none) { .act { opacity: 1; } }
.act:hover { color: var(--_text); background: color-mix(in srgb, currentColor 12%, transparent); }
.end { padding: 0.875rem 1rem; color: var(--_muted); text-align: center; font-size: 0.875rem; }
.blank {
  display: grid; justify-items: center; gap: 0.375rem; padding: 3rem 1.5rem; text-align: center;
}
.blank svg { inline-size: 2.5rem; block-size: 2.5rem; color: var(--_muted); opacity: 0.6; }
.blank p { margin: 0; }
.hint { color: var(--_muted); font-size: 0.875rem; }
.plain {
  padding: 0.375rem 0.875rem; border: 1px solid var(--_border); border-radius: 8px;
  background: var(--_background);
}
.plain:hover { background: var(--_raised); }

.prefs { padding: 0.5rem 1rem 1.25rem; }
.prefs fieldset { margin: 1rem 0 0; padding: 0; border: 0; min-inline-size: 0; }
.prefs legend {
  padding: 0 0 0.25rem; color: var(--_muted); font-size: 0.8125rem; font-weight: 600;
}
.row {
  display: flex; align-items: center; justify-content: space-between; gap: 1rem;
  min-block-size: 2.5rem; padding-block: 0.25rem;
}
.row + .row { border-block-start: 1px solid var(--_border); }
.row > :first-child { min-inline-size: 0; overflow-wrap: anywhere; }
.row select { max-inline-size: 58%; }
.row select, .row input[type="time"] {
  padding: 0.3rem 0.5rem; border: 1px solid var(--_border); border-radius: 8px;
  background: var(--_background);
}
.switch {
  appearance: none; flex: none; position: relative; margin: 0; cursor: pointer;
  inline-size: 2.375rem; block-size: 1.375rem; border-radius: 999px;
  background: color-mix(in srgb, var(--_muted) 65%, var(--_background));
}
.switch::before {
  content: ""; position: absolute; inset-block-start: 0.1875rem; inset-inline-start: 0.1875rem;
  inline-size: 1rem; block-size: 1rem; border-radius: 50%; background: var(--_background);
  transition: inset-inline-start 120ms;
}
.switch:checked { background: var(--_accent); }
.switch:checked::before { inset-inline-start: 1.1875rem; }
.switch:disabled { opacity: 0.5; cursor: default; }
.said { min-block-size: 1.25rem; margin: 0.75rem 0 0; color: var(--_muted); font-size: 0.8125rem; }

.toasts {
  position: fixed; inset: auto; inset-block-end: 1rem; inset-inline-end: 1rem; margin: 0; padding: 0;
  inline-size: min(22rem, 100vw - 2rem); max-block-size: calc(100dvh - 2rem); border: 0;
  flex-direction: column; gap: 0.5rem; background: none; overflow: visible; color: var(--_text);
}
.toasts:popover-open { display: flex; }
.toast {
  position: relative; display: flex; align-items: flex-start; color: var(--_text);
  background: var(--_background); border: 1px solid var(--_border); border-radius: var(--_radius);
  box-shadow: var(--_shadow); animation: rise 180ms ease-out;
}
.toast .main { padding: 0.75rem 0.25rem 0.75rem 1rem; }
[dir="rtl"] .toast .main { padding: 0.75rem 1rem 0.75rem 0.25rem; }
.toast .title { font-weight: 600; }
.toast .message { -webkit-line-clamp: 3; }
.toast.urgent { border-inline-start: 4px solid var(--_urgent); }
.toast .tool { margin: 0.5rem; inline-size: 2rem; block-size: 2rem; flex: none; }
@keyframes rise { from { opacity: 0; transform: translateY(8px); } }
@media (prefers-reduced-motion: reduce) {
  *, ::before { animation: none !important; transition: none !important; }
}
`;

let sheet = null;

/** The one sheet that all inboxes of a page share; adopted, so no policy about styles forbids it. */
export function adoptStyle(root) {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
  }
  root.adoptedStyleSheets = [sheet];
}
