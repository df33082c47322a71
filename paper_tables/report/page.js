"use strict";
const one = (id) => document.getElementById(id);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const method = one("by-method"), scenario = one("by-scenario"), state = one("by-state");
const rows = all("table.cells tbody tr");

function filter() {
  const wanted = method.value.trim().toLowerCase();
  let shown = 0;
  for (const row of rows) {
    const names = [row.dataset.method.toLowerCase(), row.dataset.name];
    const fits = names.some((name) => name.includes(wanted)) &&
      [scenario.value || row.dataset.scenario, state.value || row.dataset.state].join() ===
        [row.dataset.scenario, row.dataset.state].join();
    row.hidden = !fits;
    shown += fits;
  }
  for (const table of all("section.table")) table.hidden = all(".cells tbody tr", table).every((row) => row.hidden);
  one("found").value = `${shown} of ${rows.length} rows`;
}

// Rows without a value come last, whichever way the others are sorted.
function sort(header, way) {
  const column = header.cellIndex, body = header.closest("table").tBodies[0];
  const value = (row) => row.cells[column].dataset.value;
  const compare = (a, b) => (isNaN(a) || isNaN(b) ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  const known = (row) => Number(value(row) === undefined);
  const sorted = [...body.rows].sort((a, b) => known(a) - known(b) || (known(a) ? 0 : way * compare(value(a), value(b))));
  body.append(...sorted);
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
}

function keep() {
  const sorts = all("[aria-sort]").map((header) => [
    header.closest("section").id, header.cellIndex, header.getAttribute("aria-sort") === "ascending" ? 1 : -1]);
  const opened = all("details").map((details) => details.open);
  sessionStorage.report = JSON.stringify({ filters: [method.value, scenario.value, state.value], sorts, opened });
}

function restore() {
  const kept = JSON.parse(sessionStorage.report ?? "null");
  if (!kept) return;
  delete sessionStorage.report; // it is for the reload alone
  [method.value, scenario.value, state.value] = kept.filters;
  for (const [table, column, way] of kept.sorts) sort(one(table).querySelector("thead").rows[0].cells[column], way);
  all("details").forEach((details, i) => { details.open = kept.opened[i]; });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button"), row = event.target.closest("table.cells tbody tr");
  if (button?.matches(".sort")) {
    const header = button.parentNode;
    sort(header, header.getAttribute("aria-sort") === "ascending" ? -1 : 1);
  } else if (button?.matches(".all")) {
    method.value = scenario.value = state.value = "";
    filter();
  } else if (button?.matches(".enlarge")) {
    const wide = button.closest(".beside").classList.toggle("wide");
    button.setAttribute("aria-pressed", wide);
  } else if (row) {
    const opener = row.querySelector(".open");
    opener.focus(); // a dialog gives the focus back to what had it
    one(opener.dataset.dialog).showModal();
  } else if (event.target.matches("dialog")) {
    event.target.close(); // a click beside it
  }
});
one("filter").addEventListener("input", filter);
one("filter").addEventListener("submit", (event) => event.preventDefault());

try { restore(); } catch { /* this browser keeps nothing */ }
const live = Number(document.body.dataset.live);
if (live) {
  setInterval(() => {
    if (document.querySelector("dialog[open]") || document.activeElement === method) return; // somebody is reading
    try { keep(); } catch { /* the filters are lost then */ }
    location.reload();
  }, 1000 * live);
}
filter();
