"use strict";

// The token lives as long as the tab; `#token=…` in the address hands one over and is removed at once. With it may
// come the periods to judge first: base_from, base_to, from, to.
const find = (id) => document.getElementById(id);
const handed = new URLSearchParams(location.hash.slice(1));
if (handed.has("token")) {
  sessionStorage.setItem("token", handed.get("token"));
  history.replaceState(null, "", location.pathname);
}

const DAY = 86_400_000;
const numbers = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });
const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
let timer;

async function ask(path, parameters = {}) {
  const query = new URLSearchParams(parameters);
  const response = await fetch(`/v1${path}${query.size ? `?${query}` : ""}`, {
    headers: { Authorization: `Bearer ${sessionStorage.getItem("token")}` },
  });
  const body = await response.json();
  if (response.status === 401) leave();
  if (!response.ok) throw new Error(body.detail ?? response.statusText);
  return body;
}

function tell(error) {
  find("trouble").textContent = error ? error.message : "";
  find("trouble").hidden = !error;
}

function row(cells) {
  const line = document.createElement("tr");
  for (const cell of cells) {
    const place = document.createElement("td");
    const isNumber = typeof cell === "number";
    place.className = isNumber ? "number" : "";
    place.textContent = isNumber ? numbers.format(cell) : (cell ?? "–");
    line.append(place);
  }
  return line;
}

function age(seconds) {
  if (seconds === null) return "silent";
  if (seconds < 120) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
}

async function showMeters() {
  try {
    const { items } = await ask(`/sites/${find("site").value}/meters/latest`);
    find("meters").replaceChildren(...items.map((meter) => {
      const line = row([meter.name, meter.resource, meter.value, meter.unit, age(meter.age_s)]);
      if (meter.age_s === null || meter.age_s > 900) line.lastChild.className = "old";
      return line;
    }));
    tell(null);
  } catch (error) {
    tell(error);
  }
  if (sessionStorage.getItem("token")) timer = setTimeout(showMeters, 2000);
}

async function showIntensity() {
  const to = new Date();
  const from = new Date(to - 30 * DAY);
  const { items } = await ask(`/sites/${find("site").value}/intensity`, { from: from.toISOString(), to: to.toISOString() });
  find("intensity-period").textContent = `The last 30 days, from ${from.toLocaleDateString()}`;
  find("intensity").replaceChildren(...items.map((item) => row([
    item.product, item.indicator, item.good === null ? null : `${numbers.format(item.good)} ${item.good_unit}`, item.value, item.fully_loaded,
    item.unit, item.estimated_share === null ? null : percent.format(item.estimated_share),
  ])));
}

async function showVerdicts() {
  const asked = Object.fromEntries(new FormData(find("periods")));
  const { items } = await ask(`/sites/${find("site").value}/decoupling`, asked);
  find("verdicts").replaceChildren(...items.map((item) => {
    const line = document.createElement("li");
    line.textContent = item.sentence;
    return line;
  }));
}

// The latest driver values, up to a year of them, against as many before.
async function choosePeriods() {
  const form = find("periods");
  const named = ["base_from", "base_to", "from", "to"];
  if (named.every((name) => handed.has(name))) {
    for (const name of named) {
      form.elements[name].value = handed.get(name);
      handed.delete(name);
    }
    return true;
  }
  const spans = [];
  let cursor = null;
  do {
    const parameters = cursor ? { driver: form.elements.driver.value, cursor } : { driver: form.elements.driver.value };
    const page = await ask(`/sites/${find("site").value}/driver-values`, parameters);
    spans.push(...page.items.filter((item) => !item.line && !item.family && !item.product));
    cursor = page.next;
  } while (cursor);
  const length = (some) => some.reduce((days, span) => days + (Date.parse(span.to) - Date.parse(span.from)) / DAY, 0);
  let count = Math.floor(spans.length / 2);
  while (count > 1 && length(spans.slice(-count)) > 366) count -= 1;
  if (!count) return false;
  const [base, period] = [spans.slice(-2 * count, -count), spans.slice(-count)];
  form.elements.base_from.value = base[0].from;
  form.elements.base_to.value = base.at(-1).to;
  form.elements.from.value = period[0].from;
  form.elements.to.value = period.at(-1).to;
  return true;
}

async function showSite() {
  clearTimeout(timer);
  find("verdicts").replaceChildren();
  try {
    if (await choosePeriods()) await showVerdicts();
    await showIntensity();
  } catch (error) {
    tell(error);
  }
  await showMeters();
}

async function open() {
  const signedIn = Boolean(sessionStorage.getItem("token"));
  find("sign-in").hidden = signedIn;
  for (const id of ["content", "site-choice", "leave"]) find(id).hidden = !signedIn;
  if (!signedIn) return find("token").focus();
  try {
    const { items } = await ask("/sites");
    find("site").replaceChildren(...items.map((site) => new Option(site.name, site.id)));
    tell(items.length ? null : new Error("There is no site yet: afkobling site apply site.yaml makes one."));
    if (items.length) await showSite();
  } catch (error) {
    tell(error);
  }
}

function leave() {
  clearTimeout(timer);
  sessionStorage.removeItem("token");
  open();
}

find("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", find("token").value.trim());
  find("token").value = "";
  open();
});
find("periods").addEventListener("submit", (event) => {
  event.preventDefault();
  showVerdicts().then(() => tell(null), tell);
});
find("periods").elements.driver.addEventListener("change", () => {
  choosePeriods().then((found) => found && showVerdicts()).catch(tell);
});
find("site").addEventListener("change", showSite);
find("leave").addEventListener("click", leave);
open();
