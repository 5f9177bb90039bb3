"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const root = document.documentElement;
  const drawn = new Set();
  const narrow = () => window.innerWidth < 700;

  // Words such as --accent become the theme's colors.
  const themed = (node) => {
    if (typeof node === "string") return node.startsWith("--") ? getComputedStyle(root).getPropertyValue(node).trim() : node;
    if (Array.isArray(node)) return typeof node[0] === "number" ? node : node.map(themed);
    if (node && typeof node === "object") return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, themed(value)]));
    return node;
  };

  const axis = (own) => ({ gridcolor: "--hair", linecolor: "--hair", zerolinecolor: "--hair", tickcolor: "--hair", automargin: true, ...own });

  const layoutOf = (figure) => themed({
    ...figure.layout,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "ui-sans-serif, system-ui, sans-serif", size: 12, color: "--ink" },
    margin: { l: 52, r: 12, t: 10, b: 40 },
    xaxis: axis(figure.layout.xaxis), yaxis: axis(figure.layout.yaxis),
    hoverlabel: { bgcolor: "--paper", bordercolor: "--hair", font: { color: "--ink" }, align: "left" },
    legend: { orientation: "h", x: 0, y: -0.28, yanchor: "top", font: { size: 11 } },
    dragmode: narrow() ? false : "zoom",
  });

  const keyOf = (box) => box.dataset.figure ?? box.dataset.pattern.replace(/\{(\w+)\}/g, (_, id) => document.getElementById(id).value);

  const draw = (box) => {
    const figure = figures[keyOf(box)];
    if (!figure) return;
    const layout = layoutOf(figure);
    if (figure.rows) {
      layout.height = 90 * figure.rows + 70;
      box.style.minWidth = `${104 * figure.columns + 70}px`;
      layout.shapes = outline(figure);
    }
    Plotly.react(box, themed(figure.data), layout, { displayModeBar: false, responsive: true });
    if (!drawn.has(box)) {
      drawn.add(box);
      box.on("plotly_click", (event) => figure.rows && choose(event.points[0].customdata, true));
    }
  };

  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (!entry.isIntersecting) return;
    seen.unobserve(entry.target);
    draw(entry.target);
  }), { rootMargin: "400px" });

  const films = (within) => within.querySelectorAll("[data-film] input").forEach((input) => {
    const frames = input.closest("[data-film]").querySelectorAll("img");
    const step = input.closest("[data-film]").querySelector("output");
    input.addEventListener("input", () => {
      frames.forEach((frame, i) => { frame.hidden = i !== Number(input.value); });
      step.textContent = frames[input.value].dataset.step;
    });
  });

  const press = (buttons, chosen) => buttons.forEach((button) => button.setAttribute("aria-pressed", String(button === chosen)));

  const fill = (slot, id) => {
    slot.querySelectorAll(".chart").forEach((box) => { seen.unobserve(box); if (drawn.delete(box)) Plotly.purge(box); });
    slot.replaceChildren(document.getElementById(id).content.cloneNode(true));
    wake(slot);
  };

  const wake = (within) => {
    films(within);
    within.querySelectorAll(".chart").forEach((box) => seen.observe(box));
    within.querySelectorAll("button[data-show]").forEach((button) => button.addEventListener("click", () => {
      press(within.querySelectorAll("button[data-show]"), button);
      const panel = document.getElementById("panel");
      const slot = panel.querySelector(".slot") ?? panel;
      fill(slot, button.dataset.show);
      if (slot === panel) panel.scrollIntoView({ block: "nearest" });
    }));
    within.querySelectorAll("button[data-choose]").forEach((button) => button.addEventListener("click", () => choose(Number(button.dataset.choose), true)));
  };

  // A sweep's chosen combination: outlined in the heat map, its cells in the panel.
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

  const choose = (place, asked) => {
    chosen = place;
    if (!holds(slices.value, place)) slices.value = [...slices.options].findIndex((_, slice) => holds(slice, place));
    const panel = document.getElementById("panel");
    fill(panel, `group-${place}`);
    panel.querySelector("button[data-show]")?.click();
    redraw(document.querySelectorAll("[data-pattern]"));
    if (asked) panel.scrollIntoView({ block: narrow() ? "start" : "nearest" });
  };

  const redraw = (boxes) => boxes.forEach((box) => drawn.has(box) && draw(box));

  document.getElementById("theme").addEventListener("click", () => {
    const dark = getComputedStyle(root).colorScheme === "dark";
    root.dataset.theme = dark ? "light" : "dark";
    redraw([...drawn]);
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw([...drawn]));
  document.querySelectorAll("select").forEach((select) => select.addEventListener("change", () => redraw(document.querySelectorAll("[data-pattern]"))));

  wake(document);
  const heat = document.querySelector(".heat");
  if (heat) choose(Number(heat.dataset.choose), false);
})();
