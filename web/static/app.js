// Our own behaviour in the page: sending, copying, and staying up to date.
// State lives on the server; the only thing kept here is what is being typed.

(() => {
  const $ = (id) => document.getElementById(id);
  const on = (name, act) => document.addEventListener(name, act);
  let key = ""; // of a message that is sent and not yet confirmed
  let renewing = null;
  let focused = "";

  htmx.config.wsReconnectDelay = (tries) => Math.min(50 * 2 ** tries, 2000);

  const type = (text) => {
    $("draft").value = text;
    sessionStorage.setItem("draft", text);
  };
  const tell = (text) => ($("notice").textContent = text);

  // Show the page as the body that is live now makes it. A connection that was kept alive may
  // still lead to the body that leaves: then once more, as it closes them one by one.
  const renew = async () => {
    const { body, js } = $("version").dataset;
    if (js !== $("page").dataset.js) return location.reload();
    for (let tries = 8; tries && body !== $("page").dataset.body; tries--) {
      const page = await (await fetch(location)).text();
      htmx.swap("#page", page, { swapStyle: "outerHTML" }, { select: "#page" });
    }
  };

  on("DOMContentLoaded", () => type($("draft").value || sessionStorage.getItem("draft") || ""));
  on("input", ({ target }) => target.id === "draft" && type(target.value));
  on("keydown", (event) => {
    if (event.target.id !== "draft" || event.key !== "Enter") return;
    if (event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("ask").requestSubmit();
  });
  on("htmx:wsConfigSend", (event) => {
    if (event.target.id !== "ask") return;
    const text = $("draft").value;
    if (!text.trim()) return event.preventDefault();
    key ||= crypto.randomUUID();
    event.detail.parameters = { text, key };
    $("log").scrollTo(0, 0);
  });

  on("htmx:wsClose", () => tell("Reconnecting …"));
  on("htmx:wsOpen", () => {
    tell("");
    if (key) $("ask").requestSubmit(); // a message is stored once for its key
  });
  on("htmx:wsBeforeMessage", () => (focused = document.activeElement.id));
  on("htmx:wsAfterMessage", () => {
    if (document.activeElement === document.body) $(focused)?.focus(); // what was there is new
    // the server shows a message with the key it was sent with: only then is the box cleared
    if (key && document.querySelector(`[data-key="${key}"]`)) {
      key = "";
      type("");
    }
    renewing ??= renew().finally(() => (renewing = null));
  });

  on("click", async ({ target }) => {
    if (target.matches(".example")) {
      type(target.textContent);
      $("draft").focus();
    } else if (target.matches(".copy")) {
      const { from } = target.dataset; // a page to copy, else the code beside the button
      const text = from ? await (await fetch(from)).text() : target.nextElementSibling.textContent;
      await navigator.clipboard.writeText(text);
      target.textContent = "Copied";
      setTimeout(() => (target.textContent = "Copy"), 1500);
    }
  });

  // What htmx could not do is said, not swallowed.
  on("htmx:afterRequest", ({ detail: { requestConfig, xhr } }) => {
    if (!xhr.status) tell("The program did not answer.");
    else if (xhr.status >= 400) tell(xhr.responseText);
    else if (requestConfig.verb === "post") tell("");
  });
})();
