// What only the browser knows: the range a person zooms to, and where the keyboard's focus was.

const SETTLED_MS = 300;
const FOCUSABLE = "button:not([disabled]), input:not([disabled]), a[href], select, textarea, [tabindex='0']";

/** The Streamlit keys of the containers around an element, the nearest first. */
function keysAround(element) {
  const keys = [];
  for (let node = element; node instanceof Element; node = node.parentElement) {
    node.classList.forEach((name) => name.startsWith("st-key-") && keys.push(name));
  }
  return keys;
}

/** Tells `report` the ranges of a chart's axes when a person changed them; null: back to all of it. */
function watchZoom(report) {
  const watched = new WeakSet();
  return () => document.querySelectorAll(".js-plotly-plot").forEach((chart) => {
    const [key] = keysAround(chart);
    if (!key || !chart.on || watched.has(chart)) return;
    watched.add(chart);
    let axes = {};
    let waiting;
    chart.on("plotly_relayout", (event) => {
      for (const [name, value] of Object.entries(event || {})) {
        const found = name.match(/^([xy])axis(\d*)\.(range\[([01])\]|range|autorange)$/);
        if (!found) continue;
        const axis = found[1] + found[2];
        if (found[3] === "autorange") axes[axis] = null;
        else if (found[3] === "range") axes[axis] = [...value];
        else (axes[axis] = axes[axis] || [null, null])[Number(found[4])] = value;
      }
      if (!Object.keys(axes).length) return;
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        report({ chart: key.slice("st-key-".length), axes });
        axes = {};
      }, SETTLED_MS);
    });
  });
}

/** Gives the focus back when what had it is gone: to what stands in its place, else to what is around it. */
function keepFocus() {
  let last = null;
  let around = [];
  let waiting;
  const gone = () => last && (!last.isConnected || last.disabled);
  const lost = () => document.activeElement === document.body || document.activeElement === null;

  document.addEventListener("focusin", (event) => {
    if (event.target.matches("main, [role='dialog'] *, [data-testid='stPopoverBody'] *")) return;
    last = event.target;
    around = keysAround(last);
  });
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest(FOCUSABLE)) last = null;
  });

  const restore = () => {
    if (!gone() || !lost()) return;
    const places = around.map((key) => document.getElementsByClassName(key)[0]).filter(Boolean);
    const place = places[0] || document.querySelector("h1");
    if (!place) return;
    const target = place.querySelector(FOCUSABLE) || place;
    if (target === place) place.setAttribute("tabindex", "-1");
    target.focus({ preventScroll: true });
  };
  return () => {
    if (!gone() || !lost()) return;
    clearTimeout(waiting);
    waiting = setTimeout(restore, SETTLED_MS);
  };
}

/** Streamlit 1.67 puts the sections of its navigation between the list and its items: each section is a list. */
function nameNavigation() {
  document.querySelectorAll("ul[data-testid='stSidebarNavItems']:not([role])").forEach((list) => {
    list.setAttribute("role", "presentation");
  });
  document.querySelectorAll("ul[data-testid='stSidebarNavItems'] > div:not([role])").forEach((section) => {
    section.setAttribute("role", "list");
  });
}

export default function (component) {
  const page = (window.werank = window.werank || {});
  page.report = (zoom) => component.setTriggerValue("zoom", zoom);
  if (page.observer) return;
  const looks = [watchZoom((zoom) => page.report(zoom)), keepFocus(), nameNavigation];
  page.observer = new MutationObserver(() => looks.forEach((look) => look()));
  page.observer.observe(document.body, { childList: true, subtree: true, attributeFilter: ["disabled"] });
  looks.forEach((look) => look());
}
