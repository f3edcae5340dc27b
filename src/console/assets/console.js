// The console's script: puts parts of a page in place as they change, and asks before what cannot
// be undone. Every page works without it.
"use strict";

(() => {
  // Parts of the page, as the server sends them: each replaces the element with its id.
  const put = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    for (const part of [...template.content.children]) {
      const old = part.id && document.getElementById(part.id);
      if (!old) continue;
      // Whoever is at a button or in a field stays there.
      const focused = old.contains(document.activeElement) ? document.activeElement : null;
      if (focused && focused.matches("input, select, textarea")) continue;
      const opened = [...old.querySelectorAll("details[open][id]")].map((each) => each.id);
      old.replaceWith(part);
      for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
      if (focused && focused.id) document.getElementById(focused.id)?.focus();
    }
  };

  // On a phone the navigation is wider than the screen.
  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

  const path = document.body.dataset.live;
  const state = document.getElementById("live-state");
  const say = (word, title) => {
    if (!state) return;
    state.textContent = word;
    state.dataset.state = word.toLowerCase();
    state.title = title;
  };

  if (path && "EventSource" in window) {
    let source = null;
    const open = () => {
      source = new EventSource(path);
      source.addEventListener("open", () => say("Live", "This page follows what happens."));
      source.addEventListener("part", (event) => put(event.data));
      source.addEventListener("over", () => {
        source.close();
        location.reload();
      });
      source.addEventListener("error", () => {
        const isGone = source.readyState === EventSource.CLOSED;
        say(isGone ? "Paused" : "Reconnecting", "What you see may be old.");
      });
    };
    // A page that nobody looks at needs no connection.
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) {
        source?.close();
        source = null;
      } else if (!source) {
        open();
      }
    });
    addEventListener("pagehide", () => source?.close());
    if (!document.hidden) open();
  }

  document.addEventListener("submit", (event) => {
    const form = event.target;
    const question = event.submitter?.dataset.confirm ?? form.dataset.confirm;
    if (question && !confirm(question)) {
      event.preventDefault();
      return;
    }
    // A second click is not a second order. What is shown in a frame of the page orders nothing.
    if (event.submitter?.hasAttribute("formtarget")) return;
    if (form.method === "post") {
      if (form.dataset.sent) event.preventDefault();
      form.dataset.sent = "yes";
      return;
    }
    // What was left empty is no filter, and has no place in the address.
    for (const field of form.elements) {
      if (field.name && field.value === "") field.disabled = true;
    }
  });
  // Coming back by the browser's history finds the fields as they were left.
  addEventListener("pageshow", () => {
    for (const form of document.forms) delete form.dataset.sent;
    for (const field of document.querySelectorAll("form[method=get] :disabled")) {
      field.disabled = false;
    }
  });

  document.addEventListener("change", (event) => {
    const box = event.target;
    if (box.matches?.("[data-tick-all]")) {
      for (const each of box.form.querySelectorAll(`input[name="${box.dataset.tickAll}"]`)) {
        each.checked = box.checked;
      }
    } else if (box.matches?.("select[data-submit]")) {
      box.form.requestSubmit();
    }
  });
})();
