// Making elements without markup: texts stay texts, whoever wrote them.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. Children are elements or texts; properties are attributes, or listeners as
 * `onclick`. What is null, undefined or false is left out.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  const kept = children.flat().filter((child) => child !== null && child !== undefined);
  element.append(...kept);
  return element;
}

/** An icon of 24 by 24, drawn by strokes. */
export function icon(...paths) {
  const svg = document.createElementNS(SVG, "svg");
  const attributes = {
    viewBox: "0 0 24 24",
    fill: "none",
    stroke: "currentColor",
    "stroke-width": "1.75",
    "stroke-linecap": "round",
    "stroke-linejoin": "round",
    "aria-hidden": "true",
    focusable: "false",
  };
  for (const [name, value] of Object.entries(attributes)) svg.setAttribute(name, value);
  for (const d of paths) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

export const ICONS = {
  bell: ["M6 9a6 6 0 0 1 12 0c0 5 2 6.5 2 7.5H4C4 15.5 6 14 6 9", "M10 20a2.2 2.2 0 0 0 4 0"],
  close: ["M6 6l12 12", "M18 6L6 18"],
  back: ["M15 5l-7 7 7 7"],
  settings: ["M4 7h9", "M19 7h1", "M16 4.5v5", "M4 17h1", "M11 17h9", "M8 14.5v5"],
  readAll: ["M2.5 12.5l4.5 4.5L16 8", "M11.5 16.5l.5.5L21 8"],
  read: ["M5 12.5l4.5 4.5L19 7.5"],
  unread: ["M12 8.5a3.5 3.5 0 1 1 0 7a3.5 3.5 0 0 1 0-7"],
  archive: ["M4 5h16v4H4z", "M5.5 9v10h13V9", "M10 13h4"],
};

/** An address that may be followed: http or https, absolute or of this page. Else null. */
export function safeUrl(text, base = globalThis.document?.baseURI) {
  if (typeof text !== "string" || text.trim() === "") return null;
  try {
    const url = new URL(text, base);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}
