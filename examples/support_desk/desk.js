// What the shop does where there is JavaScript: finds while one types, orders without leaving the page, and shows
// new orders as they come. Without it the same links and forms lead to whole pages. It knows nothing of
// impersonation: whoever acts as someone here, acts through all of it.
"use strict";
{
  const main = document.querySelector("main");

  /** Shows what a page has as its content, in place of what is there. */
  async function show(url) {
    const answer = await fetch(url, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const content = page.querySelector("main");
    // Whatever is not one of our pages is for the browser to show.
    if (!answer.ok || !content) return location.assign(url);
    main.replaceChildren(...content.childNodes);
    document.title = page.title;
    listen();
  }

  /** The list alone, so that what is being typed elsewhere stays. */
  async function refresh() {
    const list = main.querySelector("[data-orders]");
    if (!list) return;
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const found = page.querySelector("[data-orders]");
    if (answer.ok && found) list.replaceChildren(...found.childNodes);
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-swap]");
    const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (!link || !plain) return;
    event.preventDefault();
    history.pushState(null, "", link.href);
    show(location.href).then(() => {
      const heading = main.querySelector("h1");
      if (!heading) return;
      // Whoever reads by ear begins where the new page does.
      heading.tabIndex = -1;
      heading.focus();
    });
  });

  addEventListener("popstate", () => show(location.href));

  let typing;
  document.addEventListener("input", (event) => {
    const form = event.target.closest("form[data-find]");
    if (!form) return;
    clearTimeout(typing);
    typing = setTimeout(() => {
      const q = event.target.value.trim();
      history.replaceState(null, "", q ? `/?q=${encodeURIComponent(q)}` : "/");
      refresh();
    }, 150);
  });

  document.addEventListener("submit", async (event) => {
    const form = event.target.closest("form[data-order]");
    if (!form) return;
    event.preventDefault();
    const said = form.querySelector(".said");
    said.textContent = "Ordering…";
    try {
      const answer = await fetch("/api/orders", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ item: new FormData(form).get("item") }),
      });
      const body = await answer.json();
      said.textContent = answer.ok ? `Ordered: ${body.item}, No. ${body.id}.` : body.error;
      if (answer.ok) refresh();
    } catch {
      said.textContent = "The shop does not answer. Nothing was ordered.";
    }
  });

  let live;
  /** New orders of the same customer, wherever they come from. */
  function listen() {
    const from = main.querySelector("[data-live]")?.dataset.live;
    if (live && !from) live.close(), (live = null);
    if (!from || live) return;
    live = new EventSource(from);
    live.addEventListener("placed", refresh);
  }
  listen();
}
