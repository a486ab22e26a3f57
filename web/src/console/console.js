// Keeps the time left and the lists of sessions up to date. Every page works without it.
"use strict";
(() => {
  const QUIET = 250; // Several changes at once are one look.
  const AGAIN = 10_000; // After a connection that the browser has given up, and each time twice as long.
  const TRIES = 6; // Who may no longer listen need not ask for ever: each try is in the trail.

  // The server's clock decides; this one only counts on.
  const ahead = Date.parse(document.body.dataset.now) - Date.now();

  const words = (seconds) => {
    const hours = Math.floor(seconds / 3600);
    const minutes = Math.floor(seconds / 60) % 60;
    if (hours > 0) return minutes > 0 ? `${hours} h ${minutes} min` : `${hours} h`;
    return minutes > 0 ? `${minutes} min` : `${seconds} s`;
  };

  const count = () => {
    for (const left of document.querySelectorAll("[data-until]")) {
      const seconds = Math.floor((Date.parse(left.dataset.until) - Date.now() - ahead) / 1000);
      const text = seconds > 0 ? `${words(seconds)} left` : "Time is up";
      if (left.textContent !== text) left.textContent = text;
      left.classList.toggle("left-soon", seconds < 300);
    }
  };
  count();
  setInterval(count, 1000);

  const live = document.querySelector("[data-live]");
  const status = document.querySelector("[data-live-status]");
  if (!live || !status || !window.EventSource) return;

  const say = (state, text) => {
    status.dataset.state = state;
    if (status.textContent !== text) status.textContent = text;
    status.hidden = false;
  };

  // What someone is typing is not taken away.
  const isInUse = () => {
    const typed = [...live.querySelectorAll("input, select, textarea")];
    return typed.some((field) => {
      if (field === document.activeElement) return true;
      if (field instanceof HTMLSelectElement) {
        return [...field.options].some((option) => option.selected !== option.defaultSelected)
          && field.selectedIndex > 0;
      }
      return field.type !== "hidden" && field.value !== field.defaultValue;
    });
  };

  const focusOn = (key) => {
    if (!key) return;
    const same = [...live.querySelectorAll("a[href], button")].find((it) => keyOf(it) === key);
    if (same) same.focus();
  };
  const keyOf = (it) => it.getAttribute("href")
    ?? (it.form && `${it.form.getAttribute("action")} ${it.textContent}`);

  let looking = false;
  let again = false;
  const look = async () => {
    if (looking) {
      again = true;
      return;
    }
    looking = true;
    live.setAttribute("aria-busy", "true");
    try {
      const response = await fetch(live.dataset.live, { headers: { accept: "text/html" } });
      if (!response.ok) throw new Error(String(response.status));
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const fresh = page.getElementById(live.id);
      if (!fresh) throw new Error("no list");
      if (isInUse()) {
        say("stale", "Something has changed. Reload the page to see it.");
      } else {
        const focused = live.contains(document.activeElement) && keyOf(document.activeElement);
        const open = [...live.querySelectorAll("details")].map((it) => it.open);
        live.replaceChildren(...fresh.childNodes);
        live.querySelectorAll("details").forEach((it, at) => { it.open = open[at] ?? it.open; });
        focusOn(focused);
        count();
        say("on", "Live");
      }
    } catch {
      say("lost", "The list could not be updated. Reload the page.");
    }
    live.removeAttribute("aria-busy");
    looking = false;
    if (again) {
      again = false;
      look();
    }
  };

  let soon;
  const changed = () => {
    clearTimeout(soon);
    soon = setTimeout(look, QUIET);
  };

  let wasLost = false;
  let tries = 0;
  const connect = () => {
    const events = new EventSource(document.body.dataset.events);
    events.onopen = () => {
      say("on", "Live");
      // What happened meanwhile was not heard.
      if (wasLost) changed();
      wasLost = false;
      tries = 0;
    };
    events.onerror = () => {
      wasLost = true;
      if (events.readyState === EventSource.CLOSED) {
        tries += 1;
        if (tries > TRIES) {
          say("lost", "Connection lost. Reload the page.");
          return;
        }
        say("lost", "Connection lost. Trying again soon.");
        setTimeout(connect, AGAIN * 2 ** (tries - 1));
      } else {
        say("lost", "Connection lost. Reconnecting…");
      }
    };
    for (const name of ["started", "updated", "ended", "lost"]) {
      events.addEventListener(name, changed);
    }
  };
  say("wait", "Connecting…");
  connect();
})();
