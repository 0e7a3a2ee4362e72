(function () {
  "use strict";
  const root = document.documentElement;
  const data = JSON.parse(document.getElementById("data").textContent);
  const figures = new Map(); // element -> figure
  const config = {
    displaylogo: false,
    responsive: true,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  };

  /* ---- colours ---- */
  function colour(name) {
    return getComputedStyle(root).getPropertyValue(name).trim();
  }
  function themed() {
    const line = { gridcolor: colour("--grid"), linecolor: colour("--line"), zerolinecolor: colour("--line") };
    const update = {
      "font.color": colour("--fg"),
      "hoverlabel.bgcolor": colour("--card"),
      "hoverlabel.bordercolor": colour("--line"),
      "hoverlabel.font.color": colour("--fg"),
    };
    for (const axis of ["xaxis", "yaxis"]) {
      for (const [key, value] of Object.entries(line)) update[axis + "." + key] = value;
    }
    return update;
  }
  function recolour() {
    for (const [element, figure] of figures) {
      const update = themed();
      (figure.layout.annotations || []).forEach(function (_, i) {
        update["annotations[" + i + "].bgcolor"] = colour("--bg");
      });
      Plotly.relayout(element, update);
    }
  }
  function draw(element, figure) {
    figures.set(element, figure);
    const layout = JSON.parse(JSON.stringify(figure.layout));
    for (const [path, value] of Object.entries(themed())) {
      let at = layout;
      const keys = path.split(".");
      for (const key of keys.slice(0, -1)) at = at[key] = at[key] || {};
      at[keys[keys.length - 1]] = value;
    }
    return Plotly.newPlot(element, figure.data, layout, config);
  }
  function forget(element) {
    figures.delete(element);
    Plotly.purge(element);
  }

  const toggle = document.getElementById("theme");
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches;
  }
  function showTheme() {
    toggle.textContent = isDark() ? "Light" : "Dark";
    toggle.setAttribute("aria-label", "Switch to " + (isDark() ? "light" : "dark") + " colours");
    recolour();
  }
  toggle.addEventListener("click", function () {
    root.dataset.theme = isDark() ? "light" : "dark";
    showTheme();
  });
  prefersDark.addEventListener("change", showTheme);
  let before;
  window.addEventListener("beforeprint", function () {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    recolour();
  });
  window.addEventListener("afterprint", function () {
    if (before) root.dataset.theme = before;
    else delete root.dataset.theme;
    recolour();
  });

  /* ---- sortable tables ---- */
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach(function (head, column) {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", function () {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const body = table.tBodies[0];
        const rows = Array.from(body.rows);
        rows.sort(function (a, b) {
          const x = a.cells[column].dataset.sort;
          const y = b.cells[column].dataset.sort;
          if (x === "" || y === "") return x === y ? 0 : x === "" ? 1 : -1; // what has no value stays last
          const order = head.dataset.kind === "text" ? x.localeCompare(y) : Number(x) - Number(y);
          return up ? order : -order;
        });
        body.append(...rows);
      });
    });
  }

  /* ---- candidates ---- */
  const panel = document.getElementById("panel");
  function drawBars(inside, key) {
    const bars = data.bars[key] || [];
    inside.querySelectorAll("[data-bar]").forEach(function (element) {
      draw(element, bars[Number(element.dataset.bar)]);
    });
  }
  function brief(number) {
    /* A candidate without a full description: what is known of it, as text. */
    const article = document.createElement("article");
    article.className = "candidate";
    const title = document.createElement("h3");
    title.textContent = "Trial " + number;
    article.append(title);
    const place = data.points.number.indexOf(number);
    const state = document.createElement("p");
    const texts = {
      front: "On the Pareto front.",
      dominated: "Another candidate is at least as good in every objective and better in one.",
      infeasible: "Exceeds a limit.",
      unscored: "Has no number for an objective.",
    };
    state.textContent = texts[data.points.status[place]];
    article.append(state);
    const list = document.createElement("ul");
    for (const axis of data.axes) {
      const item = document.createElement("li");
      const value = data.points.values[axis.name][place];
      item.textContent = axis.label + ": " + (value === null ? "n/a" : value.toLocaleString("en", { maximumSignificantDigits: 9 }) + axis.unit);
      list.append(item);
    }
    article.append(list);
    const hint = document.createElement("p");
    const command = document.createElement("code");
    command.textContent = "archsearch profile '" + (data.study + "#" + number).replaceAll("'", "'\\''") + "'";
    hint.append("All about it: ", command);
    article.append(hint);
    return article;
  }
  function choose(number, scroll) {
    for (const element of panel.querySelectorAll("[data-bar]")) forget(element);
    const template = document.getElementById("candidate-" + number);
    panel.replaceChildren(template ? template.content.cloneNode(true) : brief(number));
    panel.dataset.number = number;
    drawBars(panel, number);
    for (const row of document.querySelectorAll("tr.pickable")) {
      row.classList.toggle("chosen", row.dataset.number === String(number));
    }
    highlight(number);
    if (scroll) panel.scrollIntoView({ block: "start" });
  }
  for (const row of document.querySelectorAll("tr.pickable")) {
    row.addEventListener("click", function () {
      choose(Number(row.dataset.number), true);
    });
  }
  function onPoint(event) {
    const point = event.points && event.points[0];
    if (point && point.customdata !== undefined) choose(Number(point.customdata), false);
  }

  /* ---- the front ---- */
  const scatter = document.getElementById("front-plot");
  const choices = ["x", "y", "c"].map(function (key) {
    return document.getElementById("axis-" + key);
  });
  function column(name, numbers, side) {
    return numbers.map(function (number) {
      const place = data.places.get(number);
      return side ? data.points[side][name][place] : data.points.values[name][place];
    });
  }
  function bars(name, numbers) {
    const values = column(name, numbers);
    const from = function (side, sign) {
      if (!data.points[side][name]) return numbers.map(() => 0);
      return column(name, numbers, side).map(function (bound, i) {
        return bound === null || values[i] === null ? 0 : sign * (bound - values[i]);
      });
    };
    const plus = from("high", 1);
    const minus = from("low", -1);
    return { plus: plus, minus: minus, visible: plus.concat(minus).some(Boolean) };
  }
  function changeAxes() {
    const names = choices.map((select) => select.value);
    const found = names.map((name) => data.axes.find((axis) => axis.name === name));
    scatter.data.forEach(function (trace, i) {
      const numbers = Array.from(trace.customdata);
      const update = { x: [column(names[0], numbers)], y: [column(names[1], numbers)] };
      if (trace.error_x && trace.error_x.array) {
        ["x", "y"].forEach(function (side, k) {
          const bar = bars(names[k], numbers);
          update["error_" + side + ".array"] = [bar.plus];
          update["error_" + side + ".arrayminus"] = [bar.minus];
          update["error_" + side + ".visible"] = bar.visible;
        });
        update["marker.color"] = [column(names[2], numbers)];
        update["marker.colorbar.title.text"] = found[2].title;
        update["marker.colorbar.tickformat"] = found[2].tick_format;
        update["marker.colorbar.ticksuffix"] = found[2].tick_suffix;
      }
      Plotly.restyle(scatter, update, [i]);
    });
    const layout = {};
    ["xaxis", "yaxis"].forEach(function (axis, k) {
      layout[axis + ".title.text"] = found[k].title;
      layout[axis + ".tickformat"] = found[k].tick_format;
      layout[axis + ".ticksuffix"] = found[k].tick_suffix;
      layout[axis + ".autorange"] = true;
    });
    Plotly.relayout(scatter, layout);
  }
  const lines = document.getElementById("decisions-plot");
  function highlight(number) {
    if (!lines || !lines.data) return;
    const widths = [];
    const opacities = [];
    let found = false;
    for (const trace of lines.data) {
      const here = trace.customdata[0] === number;
      found = found || here;
      widths.push(here ? 5 : 1.6);
      opacities.push(here ? 1 : 0.3);
    }
    Plotly.restyle(lines, { "line.width": widths, opacity: found ? opacities : opacities.map(() => 0.8) });
  }

  /* ---- start ---- */
  if (data.points) {
    data.places = new Map(data.points.number.map((number, place) => [number, place]));
  }
  const drawn = [];
  if (scatter) {
    drawn.push(
      draw(scatter, data.figures.front).then(function () {
        scatter.on("plotly_click", onPoint);
        for (const select of choices) select.addEventListener("change", changeAxes);
      }),
    );
  }
  const history = document.getElementById("history-plot");
  if (history) drawn.push(draw(history, data.figures.history));
  if (lines) {
    drawn.push(
      draw(lines, data.figures.decisions).then(function () {
        lines.on("plotly_click", onPoint);
      }),
    );
  }
  if (panel && data.chosen !== null) choose(data.chosen, false);
  for (const element of document.querySelectorAll("article[data-bars]")) {
    if (!panel || !panel.contains(element)) drawBars(element, element.dataset.bars);
  }
  showTheme();
  Promise.all(drawn).then(function () {
    if (data.chosen !== undefined && data.chosen !== null) highlight(data.chosen);
    root.dataset.ready = "yes";
  });
})();
