// What moves on the page: figures are drawn when they come into sight, pictures of a network follow their sliders.
"use strict";
(async () => {
  const stored = document.getElementById("data");
  const unpacked = async (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };
  const all = JSON.parse(stored.type.endsWith("gzip") ? await unpacked(stored.textContent) : stored.textContent);
  const root = document.documentElement;
  const narrow = () => window.innerWidth < 560;
  const NS = "http://www.w3.org/2000/svg";
  const svg = (name, attributes = {}) => {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const html = (name, words = "", kind = "") => {
    const made = document.createElement(name);
    made.textContent = words;
    if (kind) made.className = kind;
    return made;
  };
  const remembered = (key, value) => {
    try { // some browsers forbid it to pages from disk
      if (value !== undefined) localStorage.setItem(key, value);
      return localStorage.getItem(key);
    } catch { return null; }
  };

  // --- theme: a figure names its colours, var(--c0), and the style sheet says what they are --------------------
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const painted = (value) => {
    if (typeof value === "string") return value.startsWith("var(") ? colour(value.slice(4, -1)) : value;
    if (Array.isArray(value)) return value.length && typeof value[0] === "number" ? value : value.map(painted);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, painted(v)]));
    return value;
  };
  const lines = (words, most) => words.split(" ").reduce((found, word) => {
    const last = found[found.length - 1];
    return last && last.length + word.length >= most ? [...found, word] : [...found.slice(0, -1), last ? `${last} ${word}` : word];
  }, [""]).join("<br>");
  const fitted = (axis, pixels) => axis?.title?.text // a title no longer than its axis
    ? { ...axis, title: { ...axis.title, text: lines(axis.title.text, Math.max(12, pixels / 6.6)) } } : axis;
  const layoutOf = (given, element) => {
    const axes = { gridcolor: colour("--grid"), linecolor: colour("--line"), zerolinecolor: colour("--grid"), ticks: "" };
    const font = { color: colour("--ink"), family: getComputedStyle(document.body).fontFamily, size: narrow() ? 11 : 12 };
    const hover = { bgcolor: colour("--card"), bordercolor: colour("--line"), font };
    const made = {
      paper_bgcolor: "transparent", plot_bgcolor: "transparent", font, hoverlabel: hover, hovermode: "x unified",
      margin: { l: 12, r: 14, t: 24, b: 12 }, showlegend: false, autosize: true, dragmode: narrow() ? false : "zoom",
      ...painted(given),
    };
    made.xaxis = { ...axes, ...fitted(made.xaxis, 0.62 * element.clientWidth) };
    made.yaxis = { ...axes, ...fitted(made.yaxis, 0.7 * element.clientHeight) };
    return made;
  };
  const config = () => ({ responsive: true, displaylogo: false, displayModeBar: narrow() ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] });

  // --- figures -------------------------------------------------------------------------------------------------
  const drawn = new Map(), steps = new Map(); // element -> which step it shows, and shall show
  const draw = (element) => {
    const spec = all[element.id];
    if (!drawn.has(element)) drawn.set(element, steps.get(element) ?? spec.start);
    const step = (spec.steps || [])[drawn.get(element)];
    const data = spec.data.map((trace, n) => ({ ...trace, ...(step ? step.data[n] : {}), visible: hiddenOf(element).has(n) ? "legendonly" : true }));
    const layout = step ? { ...spec.layout, shapes: step.shapes, annotations: step.annotations } : spec.layout;
    Plotly.react(element, painted(data), layoutOf(layout, element), config());
    legend(element, spec.data);
  };
  const hiddenSets = new Map();
  const hiddenOf = (element) => hiddenSets.get(element) || hiddenSets.set(element, new Set()).get(element);
  const swatch = (trace) => {
    const made = svg("svg", { viewBox: "0 0 30 14", "aria-hidden": "true" });
    const ink = trace.line?.color || trace.marker?.color || "var(--quiet)";
    const first = Array.isArray(ink) ? ink[0] : ink;
    if (trace.type === "bar" || trace.fill || trace.stackgroup) {
      made.append(svg("rect", { x: 6, y: 2, width: 18, height: 10, rx: 2, style: `fill: ${trace.fillcolor || first}` }));
      if ((trace.fillpattern || trace.marker?.pattern)?.shape) made.append(svg("path", { d: "M9 12L17 2M15 12L23 2", style: "stroke: var(--card); stroke-width: 1.5" }));
      return made;
    }
    const dashes = { dash: "6 3", dot: "2 2.5", dashdot: "6 2.5 2 2.5", longdash: "10 3", longdashdot: "9 2.5 2 2.5" };
    if (!trace.mode || trace.mode.includes("lines"))
      made.append(svg("line", { x1: 1, x2: 29, y1: 7, y2: 7, "stroke-dasharray": dashes[trace.line?.dash] || "", style: `stroke: ${first}; stroke-width: ${trace.line?.width || 2}` }));
    if (!trace.mode || trace.mode.includes("markers")) {
      const shapes = {
        circle: "M11 7a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", square: "M11.5 3.5h7v7h-7z", diamond: "M15 2l5 5-5 5-5-5z",
        "triangle-up": "M15 2.5l5 8.5H10z", "triangle-down": "M15 11.5l5-8.5H10z", cross: "M13.5 2h3v3.5H20v3h-3.5V12h-3V8.5H10v-3h3.5z",
        x: "M11 3l4 4 4-4 1.5 1.5-4 4 4 4H18l-3-3-3 3H9.5l4-4-4-4z", star: "M15 1.5l1.6 3.6 4 .4-3 2.7.9 4L15 10.2 11.5 12.2l.9-4-3-2.7 4-.4z",
      };
      const fill = trace.marker?.color && !Array.isArray(trace.marker.color) ? trace.marker.color : first;
      made.append(svg("path", { d: shapes[trace.marker?.symbol] || shapes.circle, style: `fill: ${fill}` }));
    }
    return made;
  };
  const legend = (element, traces) => {
    const place = document.querySelector(`[data-legend="${element.id}"]`);
    const named = traces.map((trace, n) => [trace, n]).filter(([trace]) => trace.name && trace.showlegend !== false && trace.type !== "heatmap");
    if (place.childElementCount || named.length < 2) return;
    for (const [trace, n] of named) {
      const button = html("button");
      button.type = "button";
      button.append(swatch(trace), html("span", trace.name));
      button.setAttribute("aria-pressed", String(!hiddenOf(element).has(n)));
      button.addEventListener("click", () => {
        const hidden = hiddenOf(element);
        if (!hidden.delete(n)) hidden.add(n);
        button.setAttribute("aria-pressed", String(!hidden.has(n)));
        draw(element);
      });
      place.append(button);
    }
  };

  // --- the picture of a network ----------------------------------------------------------------------------------
  // A group's cells in the order of their survival: cell 0 dies last. `per`: what one cell stands for.
  const grid = (group, columns, per, order) => {
    const count = Math.ceil(group.total / per), rows = Math.ceil(count / columns);
    const places = [...Array(count).keys()].map((n) => [n % columns, Math.floor(n / columns)]);
    if (order === "middle") {
      const far = ([x, y]) => Math.hypot(x - (columns - 1) / 2, y - (rows - 1) / 2);
      places.sort((one, other) => far(one) - far(other));
    }
    const picture = svg("svg", { viewBox: `0 0 ${columns * 10} ${rows * 10}`, class: "cells", "aria-hidden": "true" });
    const cells = places.map(([x, y]) => svg("circle", { cx: x * 10 + 5, cy: y * 10 + 5, r: 3.9, class: "dead" }));
    picture.append(...cells);
    return { picture, rows, columns, show(step) {
      const now = Math.ceil((group.alive[step] ?? 0) / per - 1e-9), before = step ? Math.ceil((group.alive[step - 1] ?? 0) / per - 1e-9) : now;
      cells.forEach((cell, n) => cell.setAttribute("class", n < now ? "alive" : n < before ? "dying" : "dead"));
    } };
  };
  const CELL = 13; // px at the most
  const named = (group) => {
    const name = html("div", "", "name"), count = html("span", "", "count");
    name.append(html("strong", group.name.replace(/([._])/g, "$1\u200b")), count); // may break there
    return { name, say: (step) => { count.textContent = group.words[step]; } };
  };
  const kinds = {
    layers(place, spec) {
      const row = html("div", "", "layers"), names = [], shows = [];
      const per = Math.max(1, Math.ceil(Math.max(...spec.groups.map((g) => g.total)) / 1500));
      const high = Math.max(4, Math.ceil(Math.sqrt(Math.max(...spec.groups.map((g) => g.total / per)) * 1.3)));
      const made = spec.groups.map((group) => {
        const cells = Math.ceil(group.total / per);
        return grid(group, Math.max(1, Math.ceil(cells / high)), per, "middle");
      });
      const tallest = Math.max(...made.map((one) => one.rows));
      const tall = (n, step) => 50 * made[n].rows / tallest * Math.sqrt(spec.groups[n].alive[step] / spec.groups[n].total);
      made.forEach((one, n) => {
        if (n) {
          const flow = svg("svg", { viewBox: "0 0 10 100", preserveAspectRatio: "none", class: "flow", "aria-hidden": "true" });
          const band = flow.appendChild(svg("polygon"));
          shows.push((step) => {
            const [left, right] = [tall(n - 1, step), tall(n, step)];
            band.setAttribute("points", `0,${50 - left} 10,${50 - right} 10,${50 + right} 0,${50 + left}`);
          });
          row.append(flow);
        }
        const box = html("div", "", "group"), about = named(spec.groups[n]);
        one.picture.style.width = `${CELL * one.columns}px`;
        box.append(one.picture);
        row.append(box);
        names.push(about.name);
        if (n) names.splice(-1, 0, html("div"));
        shows.push(one.show, about.say);
      });
      row.append(...names);
      row.style.gridTemplateColumns = made.map((one) => `minmax(min-content, ${one.columns}fr)`).join(" minmax(14px, 5fr) ");
      row.style.maxWidth = `${CELL * (made.reduce((sum, one) => sum + one.columns + 5, -5))}px`;
      place.append(row);
      return [shows, per];
    },
    tensors(place, spec) {
      const shows = [], list = place.appendChild(html("div", "", "tensors"));
      for (const group of spec.groups) {
        const box = html("div", "", "group"), one = grid(group, 10, 1, "rows"), about = named(group);
        box.append(one.picture, about.name);
        list.append(box);
        shows.push(one.show, about.say);
      }
      return [shows, 1];
    },
    modules(place, spec) {
      const shows = [], list = place.appendChild(html("div", "", "modules")), HIGH = 86;
      const per = Math.max(1, Math.ceil(Math.max(...spec.groups.map((g) => g.total)) / 180));
      const arcs = svg("svg", { class: "links", height: HIGH * spec.groups.length, viewBox: `0 0 96 ${HIGH * spec.groups.length}`, preserveAspectRatio: "none", "aria-hidden": "true" });
      const most = Math.max(1e-9, ...spec.links.flatMap((link) => link.mass));
      for (const link of spec.links) {
        const [from, to] = [link.source, link.target].map((n) => HIGH * (n + 0.5));
        const out = 88 - Math.min(84, 16 * Math.abs(link.target - link.source) + 6);
        const arc = arcs.appendChild(svg("path", { d: `M88 ${from}C${out} ${from} ${out} ${to} 88 ${to}` }));
        const words = arc.appendChild(svg("title"));
        shows.push((step) => {
          const mass = link.mass[step], fresh = mass > 0 && !(step && link.mass[step - 1] > 0);
          arc.style.display = mass > 0 ? "" : "none";
          arc.setAttribute("class", fresh ? "fresh" : "");
          arc.setAttribute("stroke-width", (0.8 + 5 * mass / most).toFixed(2));
          arc.setAttribute("stroke-opacity", (0.35 + 0.6 * mass / most).toFixed(2));
          words.textContent = `${spec.groups[link.source].name} to ${spec.groups[link.target].name}: mass ${mass.toPrecision(4)}`;
        });
      }
      spec.groups.forEach((group, n) => {
        const box = html("div", "", "group"), about = named(group);
        const cells = Math.ceil(group.total / per), one = grid(group, Math.max(1, Math.ceil(cells / 5)), per, "rows");
        one.picture.style.width = `${11 * one.columns}px`;
        box.append(about.name, one.picture);
        list.append(box);
        shows.push(one.show, about.say, (step) => { box.dataset.there = group.alive[step] == null ? "no" : "yes"; });
        arcs.append(svg("circle", { cx: 88, cy: HIGH * (n + 0.5), r: 3.5 }));
      });
      list.append(arcs);
      return [shows, per];
    },
  };
  const picture = (place) => {
    const spec = all[place.id], moment = html("dl", "", "moment"), key = html("div", "", "key");
    place.append(moment);
    const [shows, per] = kinds[spec.kind](place, spec);
    const stands = per > 1 ? `${per} ${spec.unit}s` : `a ${spec.unit}`;
    for (const [kind, words] of [["alive", `${stands}, alive`], ["dying", "died in this step"], ["dead", "dead"]]) {
      const dot = svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" });
      dot.append(svg("circle", { cx: 5, cy: 5, r: 4.2, class: kind }));
      const entry = html("span");
      entry.append(dot, html("span", words));
      key.append(entry);
    }
    place.append(key);
    return (step) => {
      moment.replaceChildren(...spec.facts[step].map(([name, words]) => {
        const pair = html("div");
        pair.append(html("dt", name), html("dd", words));
        return pair;
      }));
      for (const show of shows) show(step);
    };
  };

  // --- sliders ---------------------------------------------------------------------------------------------------
  const SECONDS = 7; // that a run takes to play
  const play = (player) => {
    const places = player.dataset.player.split(" ").map((id) => document.getElementById(id));
    const names = all[places[0].id].steps.map((step) => step.name ?? step);
    const [button, slider, output] = ["button", "input", "output"].map((name) => player.querySelector(name));
    const words = button.getAttribute("aria-label").replace("Play", "");
    const shows = places.map((place) => place.matches("[data-network]") ? picture(place) : (step) => {
      steps.set(place, step);
      if (!drawn.has(place)) return; // nobody has seen it yet
      drawn.set(place, step);
      draw(place);
    });
    const say = () => {
      output.textContent = names[slider.value];
      slider.setAttribute("aria-valuetext", names[slider.value]);
      for (const show of shows) show(Number(slider.value));
    };
    let timer = null;
    const stop = () => {
      clearInterval(timer);
      timer = null;
      button.textContent = "▶";
      button.setAttribute("aria-label", `Play${words}`);
    };
    button.addEventListener("click", () => {
      if (timer) return stop();
      if (slider.value === slider.max) { slider.value = 0; say(); }
      button.textContent = "❚❚";
      button.setAttribute("aria-label", `Pause${words}`);
      timer = setInterval(() => {
        slider.value = Number(slider.value) + 1;
        say();
        if (slider.value === slider.max) stop();
      }, Math.max(40, 1000 * SECONDS / names.length));
    });
    slider.addEventListener("input", () => { if (timer) stop(); say(); });
    say();
  };

  // --- when what is drawn ----------------------------------------------------------------------------------------
  const waiting = new Set(document.querySelectorAll("[data-player], [data-figure]"));
  const begin = (element) => {
    if (!waiting.delete(element)) return;
    watch.unobserve(element);
    if (element.matches("[data-player]")) play(element);
    else draw(element);
  };
  const watch = new IntersectionObserver((seen) => {
    for (const { isIntersecting, target } of seen) if (isIntersecting) begin(target);
  }, { rootMargin: "400px" });
  for (const element of waiting) watch.observe(element);
  const rest = () => { // so that whoever scrolls fast finds them drawn; what is closed waits until it is opened
    const next = [...waiting].find((element) => element.offsetParent);
    if (!next) return;
    begin(next);
    later(rest);
  };
  const later = window.requestIdleCallback || ((work) => setTimeout(work, 60));
  later(rest);
  const drawAll = () => {
    for (const closed of document.querySelectorAll("main details:not([open])")) closed.open = true;
    for (const element of [...waiting]) begin(element);
  };
  const open = () => { // what an address names may lie in something closed
    let name = "";
    try { name = decodeURIComponent(location.hash.slice(1)); } catch { /* a stray % names nothing */ }
    const target = document.getElementById(name);
    for (let place = target; place; place = place.parentElement) if (place.tagName === "DETAILS") place.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  open();
  const contents = document.getElementById("contents");
  if (window.innerWidth < 980) contents.open = false;

  const button = document.getElementById("theme");
  const choices = { auto: ["◐", "as the system has them"], light: ["☀", "light"], dark: ["☾", "dark"] };
  let chosen = remembered("coppice-theme") || "auto";
  const wear = (theme) => {
    root.dataset.theme = theme;
    for (const figure of drawn.keys()) draw(figure);
  };
  const paint = () => {
    const [sign, words] = choices[chosen];
    button.textContent = sign;
    button.setAttribute("aria-label", `Colours: ${words}`);
    button.title = button.getAttribute("aria-label");
    wear(chosen === "auto" ? (dark.matches ? "dark" : "light") : chosen);
  };
  button.addEventListener("click", () => {
    const names = Object.keys(choices);
    chosen = names[(names.indexOf(chosen) + 1) % names.length];
    remembered("coppice-theme", chosen);
    paint();
  });
  dark.addEventListener("change", paint);
  paint();
  addEventListener("beforeprint", () => { wear("light"); drawAll(); }); // paper is white
  addEventListener("afterprint", paint);

  // --- a page of runs at work loads itself again when there is another; what the reader did to it stays ----------
  const again = Number(document.body.dataset.refresh), KEPT = "coppice-kept";
  const sliders = () => [...document.querySelectorAll("input[type=range]")];
  const details = () => [...document.querySelectorAll("details")].map((one) => [one.id || one.querySelector("summary").textContent, one]);
  let mark = ""; // of this page; the first time nobody knows it, and it is loaded once more
  try { // some browsers forbid it to pages from disk
    const kept = JSON.parse(sessionStorage.getItem(KEPT));
    sessionStorage.removeItem(KEPT);
    if (kept) {
      mark = kept.mark;
      for (const one of sliders()) one.value = kept.sliders[one.id] ?? one.defaultValue;
      for (const [name, one] of details()) one.open = kept.details[name] ?? one.open;
      for (const one of document.querySelectorAll("[data-figure]")) if (kept.hidden[one.id]) hiddenSets.set(one, new Set(kept.hidden[one.id]));
      document.getElementById(kept.focus)?.focus({ preventScroll: true });
      scrollTo(0, kept.scroll);
    }
  } catch { /* then it stands as if opened for the first time */ }
  const keep = () => {
    try {
      sessionStorage.setItem(KEPT, JSON.stringify({
        mark, focus: document.activeElement.id, scroll: scrollY, hidden: Object.fromEntries([...hiddenSets].map(([one, hidden]) => [one.id, [...hidden]])),
        sliders: Object.fromEntries(sliders().filter((one) => one.value !== one.defaultValue).map((one) => [one.id, one.value])),
        details: Object.fromEntries(details().map(([name, one]) => [name, one.open])),
      }));
    } catch { /* nothing stays, then */ }
  };
  if (again) setInterval(async () => {
    if (document.querySelector(".play[aria-label^=Pause]")) return;
    try {
      // asked first, so that the last page stays where the run and its server have ended
      const answer = await fetch("./", { method: "HEAD", headers: { "If-None-Match": mark }, cache: "no-store" });
      if (!answer.ok) return; // 304: it has not changed
      mark = answer.headers.get("ETag");
      keep();
      location.reload();
    } catch { /* nobody there any more */ }
  }, 1000 * again);
  window.coppice = { all, drawAll };
})();
