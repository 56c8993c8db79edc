// Our own behaviour in the page: sending, scrolling, copying, and staying up to date.
// State lives on the server; the only thing kept here is what is being typed.

(() => {
  const $ = (id) => document.getElementById(id);
  const draft = () => $("draft");
  let connected = false;
  let pending = false; // sent, or to be sent as soon as the socket is open; not yet confirmed
  let key = crypto.randomUUID();
  let renewing = null;

  htmx.config.wsReconnectDelay = (tries) => Math.min(50 * 2 ** tries, 2000);

  const atEnd = (box) => box.scrollHeight - box.scrollTop - box.clientHeight < 120;
  const toEnd = () => $("messages")?.scrollTo(0, $("messages").scrollHeight);
  let follow = true;

  const fit = () => {
    const box = draft();
    box.style.height = "auto";
    box.style.height = Math.min(box.scrollHeight + 2, window.innerHeight / 3) + "px";
  };

  const keep = () => {
    sessionStorage.setItem("draft", draft().value);
    fit();
  };

  // The server shows a message with the key it was sent with: only then is the box cleared.
  const confirm = () => {
    if (!pending || !document.querySelector(`[data-key="${key}"]`)) return;
    pending = false;
    key = crypto.randomUUID();
    draft().value = "";
    keep();
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

  const ready = () => {
    if (draft() && !draft().value) draft().value = sessionStorage.getItem("draft") || "";
    if (draft()) fit();
    toEnd();
    document.querySelector(".source .here")?.scrollIntoView({ block: "center" });
  };

  document.addEventListener("DOMContentLoaded", ready);

  document.addEventListener("htmx:wsOpen", () => {
    connected = true;
    document.body.classList.remove("offline");
    if (pending) $("ask").requestSubmit();
  });
  document.addEventListener("htmx:wsClose", () => {
    connected = false;
    document.body.classList.add("offline");
  });
  document.addEventListener("htmx:wsConfigSend", (event) => {
    if (event.target.id !== "ask") return;
    const text = draft().value;
    if (!text.trim()) return event.preventDefault();
    pending = true;
    follow = true;
    event.detail.parameters = { text, key };
    if (!connected) event.preventDefault(); // sent by itself when the socket is open again
  });
  document.addEventListener("htmx:wsBeforeMessage", () => {
    follow = follow || atEnd($("messages"));
  });
  document.addEventListener("htmx:wsAfterMessage", () => {
    confirm();
    renewing ??= renew().finally(() => (renewing = null));
    if (follow) toEnd();
    follow = atEnd($("messages"));
  });

  document.addEventListener("input", (event) => event.target === draft() && keep());
  document.addEventListener("keydown", (event) => {
    if (event.target !== draft() || event.key !== "Enter" || event.shiftKey || event.isComposing)
      return;
    event.preventDefault();
    $("ask").requestSubmit();
  });

  document.addEventListener("click", async (event) => {
    const copy = event.target.closest("button.copy");
    if (copy) {
      const code = copy.parentElement.querySelector("code");
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "Copied";
      setTimeout(() => (copy.textContent = "Copy"), 1500);
    }
    const example = event.target.closest("button.example");
    if (example) {
      draft().value = example.dataset.text;
      keep();
      draft().focus();
    }
  });

  // What htmx could not do is said, not swallowed.
  const complain = (event) => {
    const answer = event.detail.xhr?.responseText;
    $("notice").textContent = answer || "The program did not answer. Is it still running?";
  };
  document.addEventListener("htmx:afterOnLoad", () => ($("notice").textContent = ""));
  document.addEventListener("htmx:responseError", complain);
  document.addEventListener("htmx:sendError", complain);
})();
