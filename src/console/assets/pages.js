
// A template being written is shown as it would be told, a moment after each change.
(() => {
  const form = document.querySelector("form[data-preview]");
  if (!form) return;
  const PAUSE = 300;
  let asking = null;
  let shown = null;
  let timer = 0;

  const frame = () => {
    const button = document.querySelector("#preview [data-frame]");
    if (!button) return;
    button.hidden = true;
    // A frame that is new has no history, so going back leaves the page as it should.
    form.requestSubmit(button);
  };

  const show = async () => {
    const body = new URLSearchParams(new FormData(form));
    const text = body.toString();
    if (text === shown) return;
    asking?.abort();
    asking = new AbortController();
    try {
      const answer = await fetch(form.dataset.preview, {
        method: "POST",
        body,
        redirect: "error",
        signal: asking.signal,
      });
      if (!answer.ok) return;
      const html = await answer.text();
      const old = document.getElementById("preview");
      const template = document.createElement("template");
      template.innerHTML = html;
      old.replaceWith(template.content);
      shown = text;
      frame();
    } catch {
      // The next change asks again.
    }
  };

  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(show, PAUSE);
  };
  // Fields beside the form that belong to it tell of their changes outside of it.
  document.addEventListener("input", (event) => {
    if (event.target.form === form) later();
  });
  frame();
})();
