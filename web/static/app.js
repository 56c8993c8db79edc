// Our own behaviour in the page: sending, scrolling, copying, and staying up to date.
// State lives on the server; the only thing kept here is what is being typed.

(() => {
  const $ = (id) => document.getElementById(id);
  const on = (name, act) => document.addEventListener(name, act);
  let connected = false;
  let pending = false; // sent, or to be sent once the socket is open; not yet confirmed
  let key = crypto.randomUUID();
  let renewing = null;
  let focused = "";
  let follow = true; // the newest words, as long as the end is in sight

  htmx.config.wsReconnectDelay = (tries) => Math.min(50 * 2 ** tries, 2000);

  const type = (text) => {
    $("draft").value = text;
    sessionStorage.setItem("draft", text);
  };

  const toEnd = () => $("messages").scrollTo(0, $("messages").scrollHeight);
  const atEnd = () => {
    const box = $("messages");
    return box.scrollHeight - box.scrollTop - box.clientHeight < 120;
  };

  // Show the page as the body that is live now makes it. A connection that was kept alive may
  // still lead to the body that leaves: then once more, as it closes them one by one.
  const renew = async (tries = 8) => {
    const { body, js } = $("version").dataset;
    if (js !== $("page").dataset.js) return location.reload();
    if (body === $("page").dataset.body || tries === 0) return;
    // asked for as a history restore, FastHTML gives the whole page and not its main part
    const headers = { "HX-History-Restore-Request": "true" };
    const swap = { target: "#page", select: "#page", swap: "outerHTML", headers };
    await htmx.ajax("GET", location.pathname + location.search, swap);
    await renew(tries - 1);
  };

  const online = (is) => {
    connected = is;
    document.body.classList.toggle("offline", !is);
  };

  on("DOMContentLoaded", () => {
    type($("draft").value || sessionStorage.getItem("draft") || "");
    toEnd();
    document.querySelector(".source .here")?.scrollIntoView({ block: "center" });
  });
  on("htmx:wsOpen", () => {
    online(true);
    if (pending) $("ask").requestSubmit();
  });
  on("htmx:wsClose", () => online(false));
  on("htmx:wsConfigSend", (event) => {
    if (event.target.id !== "ask") return;
    const text = $("draft").value;
    pending = follow = Boolean(text.trim());
    event.detail.parameters = { text, key };
    // without a connection it is sent by itself when the socket is open again
    if (!pending || !connected) event.preventDefault();
  });
  on("htmx:wsBeforeMessage", () => {
    follow ||= atEnd();
    focused = document.activeElement.id;
  });
  on("htmx:wsAfterMessage", () => {
    if (document.activeElement === document.body) $(focused)?.focus(); // what was there is new
    // the server shows a message with the key it was sent with: only then is the box cleared
    if (pending && document.querySelector(`[data-key="${key}"]`)) {
      pending = false;
      key = crypto.randomUUID();
      type("");
    }
    renewing ??= renew().finally(() => (renewing = null));
    if (follow) toEnd();
    follow = atEnd();
  });

  on("input", (event) => event.target === $("draft") && type(event.target.value));
  on("keydown", (event) => {
    if (event.target !== $("draft") || event.key !== "Enter") return;
    if (event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("ask").requestSubmit();
  });
  on("click", async ({ target }) => {
    if (target.matches(".copy")) {
      const { from } = target.dataset; // a page to copy, else the code beside the button
      const text = from ? await (await fetch(from)).text() : target.nextElementSibling.textContent;
      await navigator.clipboard.writeText(text);
      target.textContent = "Copied";
      setTimeout(() => (target.textContent = "Copy"), 1500);
    } else if (target.matches(".example")) {
      type(target.textContent);
      $("draft").focus();
    }
  });

  // What htmx could not do is said, not swallowed.
  const complain = ({ detail }) => {
    $("notice").textContent = detail.xhr?.responseText || "The program did not answer.";
  };
  on("htmx:beforeRequest", ({ detail }) => {
    if (detail.requestConfig.verb === "post") $("notice").textContent = "";
  });
  on("htmx:responseError", complain);
  on("htmx:sendError", complain);
})();
