"use strict";
(async () => {
  const root = document.documentElement;
  const drawn = new Set();
  const narrow = () => window.innerWidth < 700;

  // What lies packed in the page, as text.
  const unpacked = (id) => {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };

  const able = "DecompressionStream" in window;
  document.getElementById("unable").hidden = able;
  const figures = able ? JSON.parse(await unpacked("figures")) : {};
  const drawing = able && unpacked("plotly").then((text) => {
    const script = document.createElement("script");
    script.textContent = text;  // the policy knows its hash
    document.head.append(script);
  });

  // Words such as --accent become the theme's colors.
  const themed = (node) => {
    if (typeof node === "string") return node.startsWith("--") ? getComputedStyle(root).getPropertyValue(node).trim() : node;
    if (Array.isArray(node)) return typeof node[0] === "number" ? node : node.map(themed);
    if (node && typeof node === "object") return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, themed(value)]));
    return node;
  };

  // --- curves against steps, or against seconds of training ------------------------------------

  let bySeconds = false;

  // A clock's seconds at a step: on the line between the ticks around it.
  const at = ({ steps, seconds }, step) => {
    let i = steps.findIndex((tick) => tick >= step);
    if (i < 0) i = steps.length - 1;
    if (i === 0) i = 1;
    return seconds[i - 1] + (step - steps[i - 1]) * (seconds[i] - seconds[i - 1]) / (steps[i] - steps[i - 1]);
  };

  const timed = (figure) => {
    const clocks = (figure.clocks ?? []).map((id) => figures[`${id}/clock`]);
    if (!bySeconds || !clocks.length || !clocks.every(Boolean)) return figure;
    const hover = "step %{customdata:,}, %{x:.4~g} s";
    const traces = figure.data.map((trace, i) => ({
      ...trace,
      x: trace.x.map((step) => at(clocks[i] ?? clocks[0], step)),
      customdata: trace.x,
      hovertemplate: trace.hovertemplate.replace("step %{x:,}", hover),
    }));
    const shapes = figure.layout.shapes?.map((shape) => ({ ...shape, x0: at(clocks[0], shape.x0), x1: at(clocks[0], shape.x1) }));
    const layout = { ...figure.layout, xaxis: { ...figure.layout.xaxis, title: { text: "seconds of training" } }, ...(shapes && { shapes }) };
    return { ...figure, data: traces, layout };
  };

  const showClock = (within) => within.querySelectorAll("[data-clock]").forEach((button) => {
    button.setAttribute("aria-pressed", String((button.dataset.clock === "seconds") === bySeconds));
  });

  const setClock = (seconds) => {
    bySeconds = seconds;
    showClock(document);
    redraw([...drawn].filter((box) => figures[keyOf(box)]?.clocks));
  };

  // --- drawing ---------------------------------------------------------------------------------

  const axis = (own) => ({ gridcolor: "--hair", linecolor: "--hair", zerolinecolor: "--hair", tickcolor: "--hair", automargin: true, ...own });

  const layoutOf = (figure) => themed({
    ...figure.layout,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "ui-sans-serif, system-ui, sans-serif", size: 12, color: "--ink" },
    margin: { l: 52, r: 12, t: 10, b: 40 },
    xaxis: axis(figure.layout.xaxis), yaxis: axis(figure.layout.yaxis),
    hoverlabel: { bgcolor: "--paper", bordercolor: "--hair", font: { color: "--ink" }, align: "left" },
    legend: { orientation: "h", x: 0, y: -0.28, yanchor: "top", font: { size: 11 } },
    dragmode: narrow() || figure.chooses ? false : "zoom",
  });

  const keyOf = (box) => box.dataset.figure ?? box.dataset.pattern.replace(/\{(\w+)\}/g, (_, id) => document.getElementById(id).value);

  const leastWidth = (figure) => figure.rows ? 104 * figure.columns + 70 : 110 * (figure.wide ?? 0);

  const draw = (box, width) => {
    const figure = figures[keyOf(box)];
    if (!figure) return;
    const shown = timed(figure);
    const layout = layoutOf(shown);
    if (figure.chooses) box.style.minWidth = width ? "0" : `${leastWidth(figure)}px`;
    if (figure.rows) {
      layout.height = 90 * figure.rows + 70;
      layout.shapes = outline(figure);
    }
    if (width) layout.width = width;
    Plotly.react(box, themed(shown.data), layout, { displayModeBar: false, responsive: true });
    if (!drawn.has(box)) {
      drawn.add(box);
      box.on("plotly_click", (event) => figure.chooses && choose(event.points[0].customdata, true));
    }
  };

  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (!entry.isIntersecting) return;
    seen.unobserve(entry.target);
    draw(entry.target);
  }), { rootMargin: "400px" });

  const redraw = (boxes) => boxes.forEach((box) => drawn.has(box) && draw(box));

  // --- what can be pressed ---------------------------------------------------------------------

  const films = (within) => within.querySelectorAll("[data-film] input").forEach((input) => {
    const frames = input.closest("[data-film]").querySelectorAll("img");
    const step = input.closest("[data-film]").querySelector("output");
    input.addEventListener("input", () => {
      frames.forEach((frame, i) => { frame.hidden = i !== Number(input.value); });
      step.textContent = frames[input.value].dataset.step;
    });
  });

  const press = (buttons, chosen) => buttons.forEach((button) => button.setAttribute("aria-pressed", String(button === chosen)));

  const copy = async (button) => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "copied";
    } catch {  // not allowed here: then it is selected, to be copied by hand
      window.getSelection().selectAllChildren(code);
      button.textContent = "selected";
    }
  };

  const fill = (slot, id) => {
    slot.querySelectorAll(".chart").forEach((box) => { seen.unobserve(box); if (drawn.delete(box)) Plotly.purge(box); });
    slot.replaceChildren(document.getElementById(id).content.cloneNode(true));
    // a cell's last picture is in the page once
    slot.querySelectorAll("img[data-from]").forEach((img) => { img.src = document.getElementById(img.dataset.from).src; });
    wake(slot);
  };

  const show = (button, within, asked) => {
    press(within.querySelectorAll("button[data-show]"), button);
    const panel = document.getElementById("panel");
    const slot = panel.querySelector(".slot") ?? panel;
    fill(slot, button.dataset.show);
    press(document.querySelectorAll("button[data-cell]"), document.querySelector(`button[data-cell="${button.dataset.show}"]`));
    if (asked && slot === panel) panel.scrollIntoView({ block: "nearest" });
  };

  const onClick = (within, selector, does) => within.querySelectorAll(selector).forEach((button) => button.addEventListener("click", () => does(button)));

  const wake = (within) => {
    films(within);
    showClock(within);
    if (drawing) drawing.then(() => within.querySelectorAll(".chart").forEach((box) => box.isConnected && seen.observe(box)));
    within.querySelectorAll(".scroll").forEach(hintAt);
    onClick(within, "button[data-show]", (button) => show(button, within, true));
    onClick(within, "button[data-choose]", (button) => choose(Number(button.dataset.choose), true, button.dataset.cell));
    onClick(within, "button[data-clock]", (button) => setClock(button.dataset.clock === "seconds"));
    onClick(within, "button[data-copy]", copy);
  };

  // --- what is wider than the page says so, and can be scrolled with the keyboard ---------------

  const hintAt = (box) => {
    const hint = document.createElement("p");
    hint.className = "hint scroll-hint";
    hint.textContent = "⇄ Wider than the page: scroll sideways for the rest.";
    box.before(hint);
    const look = () => {
      const left = box.scrollLeft > 1;
      const right = box.scrollLeft + box.clientWidth < box.scrollWidth - 1;
      box.classList.toggle("more-left", left);
      box.classList.toggle("more-right", right);
      hint.hidden = !left && !right;
      if (hint.hidden) box.removeAttribute("tabindex"); else box.tabIndex = 0;
    };
    box.addEventListener("scroll", look, { passive: true });
    const sizes = new ResizeObserver(look);
    [box, ...box.children].forEach((each) => sizes.observe(each));
    look();
  };

  // --- a sweep's chosen combination: outlined in the heat map, its cells in the panel ------------

  let chosen = null;

  const outline = (figure) => {
    const places = figure.data[0].customdata;
    const row = places.findIndex((line) => line.includes(chosen));
    if (row < 0) return [];
    const column = places[row].indexOf(chosen);
    const edges = { x0: column - 0.49, x1: column + 0.49, y0: row - 0.48, y1: row + 0.48 };
    return [{ type: "rect", ...edges, line: { color: themed("--warn"), width: 3 } }];
  };

  const slices = document.getElementById("slice");
  const holds = (slice, place) => figures[`heat/0/${slice}`]?.data[0].customdata.some((line) => line.includes(place));

  const choose = (place, asked, cell) => {
    chosen = place;
    const slice = [...slices.options].findIndex((_, slice) => holds(slice, place));
    if (!holds(slices.value, place) && slice >= 0) slices.value = slice;
    const panel = document.getElementById("panel");
    fill(panel, `group-${place}`);
    const tab = panel.querySelector(cell ? `button[data-show="${cell}"]` : "button[data-first]");
    if (tab) show(tab, panel, false);
    redraw(document.querySelectorAll("[data-pattern]"));
    if (asked) panel.scrollIntoView({ block: narrow() ? "start" : "nearest" });
  };

  // --- a print has everything ------------------------------------------------------------------

  const PAPER = { half: 330, whole: 680 };  // pixels: A4 less its margins
  const SMALLER = 1.25;  // a table on the screen against the same in print
  let before = null;

  // The rows of a table that no paper is wide enough for, as blocks of names and values.
  const stack = (table) => {
    if (table.scrollWidth <= SMALLER * PAPER.whole) return;
    const names = [...table.querySelectorAll("thead th")].map((name) => name.firstChild?.textContent ?? "");
    table.querySelectorAll("tbody tr").forEach((row) => [...row.cells].forEach((cell, i) => { cell.dataset.name = row.cells.length > 1 ? names[i] ?? "" : ""; }));
    table.classList.add("stacked");
  };

  window.addEventListener("beforeprint", () => {
    if (before) return;
    before = { theme: root.dataset.theme, opened: [...document.querySelectorAll("details:not([open])")] };
    root.dataset.theme = "light";
    document.querySelectorAll("table").forEach(stack);
    before.opened.forEach((details) => { details.open = true; });
    document.querySelectorAll("img[loading]").forEach((img) => { img.loading = "eager"; });
    if (window.Plotly) document.querySelectorAll(".chart").forEach((box) => draw(box, box.closest(".charts") ? PAPER.half : PAPER.whole));
  });
  window.addEventListener("afterprint", () => {
    if (!before) return;
    if (before.theme) root.dataset.theme = before.theme; else delete root.dataset.theme;
    document.querySelectorAll(".stacked").forEach((table) => table.classList.remove("stacked"));
    before.opened.forEach((details) => { details.open = false; });
    before = null;
    redraw([...drawn]);
    drawn.forEach((box) => Plotly.Plots.resize(box));
  });

  // --- the page opens --------------------------------------------------------------------------

  document.getElementById("theme").addEventListener("click", () => {
    const dark = getComputedStyle(root).colorScheme === "dark";
    root.dataset.theme = dark ? "light" : "dark";
    redraw([...drawn]);
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw([...drawn]));
  document.querySelectorAll("select").forEach((select) => select.addEventListener("change", () => redraw(document.querySelectorAll("[data-pattern]"))));

  wake(document);
  const opens = document.getElementById("panel")?.dataset.opens;
  const card = document.querySelector(".run-card[data-first]");
  if (opens) choose(Number(opens), false);
  else if (card) show(card, document, false);
})();
