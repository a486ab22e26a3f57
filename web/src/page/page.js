// Loaded by acted pages:
//
//   <script src="…/page.js" data-parameter="as" data-header="act-as" data-subject="ines"></script>
//
// 1. What the page's own scripts send to its own origin carries the marker, and so does the URL that they put into
//    the address bar. Without this, a page would go on as the person who acts, below a banner that says otherwise.
// 2. With `data-sticky` the page's own URL gets the marker where it has none: the answer to a long form has the URL of the form,
//    which nobody marked. What the page sends is known by that URL.
// 3. The banner's time is counted down.
//
// Nothing is done to other origins, and a marker that the page set itself stays. What this script does not reach
// (links, forms, what workers send) has the marker of the page or the worker it comes from, by its `Referer`; what
// neither reaches is what `refuse_unmarked_writes` is for.
(() => {
  "use strict";

  const script = document.currentScript;
  if (!script) return;
  const { parameter, header, subject, sticky } = script.dataset;

  // === The marker ===

  // An absolute URL, if it is one of this origin. A WebSocket's is of the same origin as the page's own.
  const ownUrl = (url) => {
    try {
      const absolute = new URL(url, document.baseURI);
      const scheme = absolute.protocol.replace(/^ws/, "http");
      return `${scheme}//${absolute.host}` === location.origin ? absolute : null;
    } catch {
      return null; // Whatever takes it complains in its own words.
    }
  };
  const isMarked = (url) => Boolean(parameter) && url.searchParams.has(parameter);
  // By hand: `searchParams` would write the rest of the query anew.
  const withMarker = (url) => {
    url.search += `${url.search ? "&" : "?"}${parameter}=${encodeURIComponent(subject)}`;
    return url.href;
  };
  // The URL with the marker, or as it came.
  const marked = (url) => {
    const own = ownUrl(url);
    return own && !isMarked(own) ? withMarker(own) : url;
  };

  // A proxy has the name, the length, the constants and the prototype of what it stands for.
  const wrap = (owner, name, handler) => {
    if (owner && typeof owner[name] === "function") owner[name] = new Proxy(owner[name], handler);
  };
  // Marks the URL that is the argument at this place, where there is one.
  const markArgument = (owner, name, place) => {
    const replaced = (args) => {
      const changed = Array.from(args);
      if (changed.length > place && changed[place] != null) changed[place] = marked(changed[place]);
      return changed;
    };
    wrap(owner, name, {
      apply: (target, self, args) => Reflect.apply(target, self, replaced(args)),
      construct: (target, args, made) => Reflect.construct(target, replaced(args), made),
    });
  };

  const keepInUrls = () => {
    markArgument(History.prototype, "pushState", 2);
    markArgument(History.prototype, "replaceState", 2);
    markArgument(Navigator.prototype, "sendBeacon", 0);
    markArgument(window, "EventSource", 0);
    markArgument(window, "WebSocket", 0);
    markArgument(window, "Worker", 0);
    markArgument(window, "SharedWorker", 0);
    wrap(window, "open", {
      // Without a URL it is an empty window, which has no marker to lose.
      apply: (target, self, args) =>
        Reflect.apply(target, self, args[0] ? [marked(args[0]), ...args.slice(1)] : args),
    });
  };

  const keepInAddress = () => {
    const own = marked(location.href);
    try {
      if (own !== location.href) history.replaceState(history.state, "", own);
    } catch {
      // In a frame that may not change its address, everything else is marked all the same.
    }
  };

  // Header values are bytes, and an id is UTF-8. Spaces around it would be lost, and make it another one.
  const headerValue = () => String.fromCharCode(...new TextEncoder().encode(subject));
  const hasHeader = Boolean(header) && subject !== undefined && subject.trim() === subject;

  // The same request to the marked URL. Its body is read first: as a stream it would need HTTP/2.
  const readdressed = async (request) => {
    const init = {};
    for (const key of ["method", "headers", "credentials", "cache", "redirect", "referrer", "referrerPolicy",
      "integrity", "keepalive", "signal", "mode"]) init[key] = request[key];
    if (request.method !== "GET" && request.method !== "HEAD") init.body = await request.blob();
    return new Request(withMarker(new URL(request.url)), init);
  };

  const keepInFetch = () => wrap(window, "fetch", {
    apply(fetch, self, args) {
      const asItCame = () => Reflect.apply(fetch, self, args);
      const [input, init] = args;
      const isRequest = typeof input === "object" && input !== null && "headers" in input;
      const own = ownUrl(isRequest ? input.url : input);
      if (!own || isMarked(own)) return asItCame();
      if (!hasHeader && !isRequest) return Reflect.apply(fetch, self, [withMarker(own), ...args.slice(1)]);
      let request;
      try {
        request = new Request(input, init); // what `fetch` does first, with everything that `init` may hold
      } catch {
        return asItCame();
      }
      if (header && request.headers.has(header)) return Reflect.apply(fetch, self, [request]);
      if (hasHeader) request.headers.set(header, headerValue());
      // With `mode: "no-cors"` no header can be set.
      if (hasHeader && request.headers.has(header)) return Reflect.apply(fetch, self, [request]);
      if (!parameter) return Reflect.apply(fetch, self, [request]);
      return readdressed(request).then((request) => Reflect.apply(fetch, self, [request]));
    },
  });

  const keepInXhr = () => {
    const { prototype } = XMLHttpRequest;
    const setHeader = prototype.setRequestHeader;
    const unmarked = new WeakSet();
    wrap(prototype, "open", {
      apply(open, xhr, args) {
        const own = args.length > 1 ? ownUrl(args[1]) : null;
        unmarked.delete(xhr);
        if (!own || isMarked(own)) return Reflect.apply(open, xhr, args);
        if (hasHeader) {
          const result = Reflect.apply(open, xhr, args);
          unmarked.add(xhr);
          return result;
        }
        return Reflect.apply(open, xhr, [args[0], withMarker(own), ...args.slice(2)]);
      },
    });
    wrap(prototype, "setRequestHeader", {
      apply(set, xhr, args) {
        if (header && String(args[0]).toLowerCase() === header.toLowerCase()) unmarked.delete(xhr);
        return Reflect.apply(set, xhr, args);
      },
    });
    wrap(prototype, "send", {
      apply(send, xhr, args) {
        if (unmarked.delete(xhr)) setHeader.call(xhr, header, headerValue());
        return Reflect.apply(send, xhr, args);
      },
    });
  };

  if (subject && (parameter || hasHeader)) {
    if (parameter) keepInUrls();
    if (parameter && sticky !== undefined) keepInAddress();
    keepInFetch();
    keepInXhr();
  }

  // === The time that is left ===

  const written = (seconds) => {
    const two = (number) => String(number).padStart(2, "0");
    const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
    return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  };

  const countDown = () => {
    const root = document.querySelector("[data-impersonation-banner]");
    const left = root && root.querySelector("[data-impersonation-left]");
    const whole = left ? left.getAttribute("data-impersonation-left") : "";
    if (!/^\d+$/.test(whole)) return Boolean(root);
    const setting = (name) => left.getAttribute(name) || root.getAttribute(name);
    const format = setting("data-impersonation-format") || "{time}";
    // One clock stands still while the machine sleeps, the other can be set: the later one is right.
    const [start, started] = [performance.now(), Date.now()];
    const passed = () => Math.max(performance.now() - start, Date.now() - started);
    let timer;
    const show = () => {
      clearTimeout(timer);
      const rest = Number(whole) * 1000 - passed();
      if (rest > 0) {
        const text = format.replace("{time}", () => written(Math.ceil(rest / 1000)));
        if (left.textContent !== text) left.textContent = text;
        timer = setTimeout(show, rest % 1000 || 1000);
      } else if (!root.hasAttribute("data-over")) {
        root.setAttribute("data-over", "");
        // Only this is read out, and only what changes once someone listens.
        left.setAttribute("aria-live", "polite");
        timer = setTimeout(() => {
          left.textContent = setting("data-impersonation-over") || format.replace("{time}", () => written(0));
        }, 100);
      }
    };
    show();
    // Timers rest in hidden tabs, in pages that the browser keeps, and while the machine sleeps.
    addEventListener("pageshow", show);
    document.addEventListener("visibilitychange", show);
    return true;
  };
  // The banner is there already, or comes with the rest of the page.
  if (!countDown()) document.addEventListener("DOMContentLoaded", countDown, { once: true });
})();
