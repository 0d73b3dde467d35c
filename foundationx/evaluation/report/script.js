"use strict";
// Tables sort by the head of each column and long ones are searched; pictures are enlarged; folded parts open if a link
// leads into them. Without this script all is there, in its first order. Texts are set as text, never as HTML.
(() => {
  const LONG = 8;
  const number = (text) => {
    const found = text.replace(/,/g, "").match(/^[<\s]*[-+]?\d*\.?\d+(e[-+]?\d+)?/i);
    return found ? parseFloat(found[0].replace("<", "")) : NaN;
  };
  const key = (row, column) => (row.cells[column] ? row.cells[column].textContent.trim() : "");

  function compare(one, other, down) {
    if ((one === "-" || one === "") !== (other === "-" || other === "")) return one === "-" || one === "" ? 1 : -1;
    const [a, b] = [number(one), number(other)];
    const order = isNaN(a) || isNaN(b) ? one.localeCompare(other, undefined, { numeric: true }) : a - b;
    return down ? -order : order;
  }

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if (head.classList.contains("keys")) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((one, other) => compare(key(one, column), key(other, column), down));
        table.tBodies[0].append(...rows);
      });
    });
  }

  function searchable(table) {
    const rows = [...table.tBodies[0].rows];
    if (rows.length <= LONG) return;
    const bar = document.createElement("p");
    const field = document.createElement("input");
    const count = document.createElement("span");
    bar.className = "search";
    field.type = "search";
    field.placeholder = "show rows with ...";
    field.setAttribute("aria-label", "show rows with these words: " + (table.parentElement.ariaLabel || "table"));
    count.setAttribute("role", "status");
    const tell = (shown) => (count.textContent = `${shown} of ${rows.length} rows`);
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      tell(shown);
    });
    tell(rows.length);
    bar.append(field, count);
    table.parentElement.before(bar);
  }

  function enlarging(figures) {
    const dialog = document.createElement("dialog");
    const close = document.createElement("button");
    const place = document.createElement("div");
    close.type = "button";
    close.textContent = "close";
    close.className = "close";
    dialog.setAttribute("aria-label", "enlarged picture");
    dialog.append(close, place);
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    document.body.append(dialog);
    for (const figure of figures) {
      const image = figure.querySelector("img");
      const button = document.createElement("button");
      button.type = "button";
      button.className = "enlarge";
      button.setAttribute("aria-label", "enlarge " + image.alt);
      image.before(button);
      button.append(image);
      button.addEventListener("click", () => {
        const large = image.cloneNode();
        place.replaceChildren(large, figure.querySelector("figcaption").cloneNode(true));
        dialog.showModal();
      });
    }
  }

  function reveal() {
    let part = location.hash.length > 1 ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
    const target = part;
    for (; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    if (target) target.scrollIntoView();
  }

  document.querySelectorAll("table.sort").forEach((table) => {
    sortable(table);
    searchable(table);
  });
  const figures = document.querySelectorAll("figure.pic");
  if (figures.length) enlarging(figures);
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details.head:not([open])")];
    folded.forEach((part) => (part.open = true));
  });
  addEventListener("afterprint", () => folded.forEach((part) => (part.open = false)));
  addEventListener("hashchange", reveal);
  reveal();
})();
