// Puts the parts that changed in their place as they come. Without it the page is whole, and is loaded again and again.
"use strict";
(() => {
  const live = document.getElementById("live");
  const put = (id, html) => {
    const place = document.getElementById(id);
    if (!place) return;
    const selection = getSelection();
    // Whoever is about to copy something keeps it.
    if (selection && !selection.isCollapsed && selection.containsNode(place, true)) return;
    const focused = place.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const region = place.querySelector(".scroll");
    const scrolled = region ? region.scrollLeft : 0;
    place.innerHTML = html;
    if (scrolled) place.querySelector(".scroll").scrollLeft = scrolled;
    if (focused) {
      for (const link of place.querySelectorAll("a")) {
        if (link.getAttribute("href") === focused) link.focus({ preventScroll: true });
      }
    }
  };
  const listen = () => {
    const source = new EventSource(document.body.dataset.events);
    source.onmessage = (event) => {
      const said = JSON.parse(event.data);
      for (const [id, html] of Object.entries(said.parts)) put(id, html);
      live.textContent = said.live;
      live.classList.remove("lost");
    };
    source.onerror = () => {
      live.classList.add("lost");
      live.textContent = "the connection is lost; it is tried again";
      // Refused rather than interrupted: too many pages listen, or the engine stops.
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 10000);
    };
    addEventListener("pagehide", () => source.close(), { once: true });
  };
  addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
  listen();
})();
