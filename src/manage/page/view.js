// Elements and texts. Everything that is shown becomes a text node or the value of an attribute in the list below, so
// that no word of a client, a configuration or an answer can be anything but text.

const ATTRIBUTES = /^(aria-[a-z]+|data-[a-z]+|class|colspan|disabled|for|hidden|href|id|name|readonly|role|scope|selected|tabindex|title|type|value)$/;

// An element with attributes and children. A child that is null or false is left out.
export function h(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes ?? {})) {
    if (!ATTRIBUTES.test(attribute)) throw new Error(`no attribute ${attribute}`);
    if (attribute === "href" && !String(value).startsWith("#")) throw new Error("links stay on the page");
    if (value !== null && value !== false && value !== undefined) element.setAttribute(attribute, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== false && child !== undefined));
  return element;
}

// A text of the gateway's own, in which `words` between backticks are code.
export function prose(text) {
  return text.split("`").map((piece, at) => (at % 2 === 1 ? h("code", null, piece) : piece));
}

// Makes a node be as another is, and changes nothing that is so already: focus, selection and scrolling stay.
export function become(node, next) {
  if (node.nodeType !== next.nodeType || node.nodeName !== next.nodeName || keyOf(node) !== keyOf(next)) {
    node.replaceWith(next);
    return;
  }
  if (node.nodeType === Node.TEXT_NODE) {
    if (node.data !== next.data) node.data = next.data;
    return;
  }
  for (const { name } of [...node.attributes]) if (!next.hasAttribute(name)) node.removeAttribute(name);
  for (const { name, value } of next.attributes) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  contain(node, [...next.childNodes]);
}

// Makes a node contain these children. A child with a key is found again by it, wherever it was.
export function contain(node, children) {
  const known = new Map([...node.children].filter(keyOf).map((child) => [keyOf(child), child]));
  children.forEach((next, at) => {
    const same = keyOf(next) ? known.get(keyOf(next)) : undefined;
    if (same && same !== node.childNodes[at]) node.insertBefore(same, node.childNodes[at] ?? null);
    const here = node.childNodes[at];
    if (here && keyOf(here) === keyOf(next)) become(here, next);
    else node.insertBefore(next, here ?? null);
  });
  while (node.childNodes.length > children.length) node.lastChild.remove();
}

function keyOf(node) {
  return node.dataset?.key;
}

// A small line of numbers, newest last, for the eye only.
export function spark(numbers) {
  const [width, height, most] = [72, 18, Math.max(...numbers, 1e-9)];
  const step = width / Math.max(numbers.length - 1, 1);
  const points = numbers.map((number, at) => `${(at * step).toFixed(1)},${(height - 1 - (number / most) * (height - 2)).toFixed(1)}`);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  for (const [name, value] of Object.entries({ viewBox: `0 0 ${width} ${height}`, class: "spark", "aria-hidden": "true" })) {
    svg.setAttribute(name, value);
  }
  line.setAttribute("points", points.join(" "));
  svg.append(line);
  return svg;
}

export const NOTHING = "–";

export function count(number) {
  return number.toLocaleString("en");
}

// 0.4, 12.3, 1,204: as many digits as mean something.
export function rate(perSecond) {
  if (perSecond === null) return NOTHING;
  return perSecond.toLocaleString("en", { maximumFractionDigits: perSecond < 100 ? 1 : 0 });
}

export function percent(share) {
  if (share === null) return NOTHING;
  return `${(share * 100).toLocaleString("en", { maximumFractionDigits: share > 0 && share < 0.1 ? 2 : 1 })} %`;
}

export function latency(seconds) {
  if (seconds === null) return NOTHING;
  const [number, unit] = seconds < 1 ? [seconds * 1000, "ms"] : [seconds, "s"];
  return `${number.toLocaleString("en", { maximumSignificantDigits: 2 })} ${unit}`;
}

// How far a moment is from now, both in seconds.
export function away(seconds, now) {
  const distance = Math.abs(now - seconds);
  const [number, unit] =
    distance < 60 ? [distance, "s"]
    : distance < 3600 ? [distance / 60, "min"]
    : distance < 172_800 ? [distance / 3600, "h"]
    : [distance / 86_400, "days"];
  return seconds > now ? `in ${Math.floor(number)} ${unit}` : `${Math.floor(number)} ${unit} ago`;
}

// A moment in UTC, as logs and the command line write it.
export function written(seconds) {
  return new Date(seconds * 1000).toISOString().replace(/\.\d+Z$/, "Z");
}

export function moment(seconds, now, absent = NOTHING) {
  if (seconds === null || seconds === undefined) return absent;
  return h("span", { title: written(seconds) }, away(seconds, now));
}
