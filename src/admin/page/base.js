'use strict';
// Helpers. Names that apps choose (client ids, topics, groups) go in as text, never as HTML.

const $ = (id) => document.getElementById(id);

/** Control characters, and those that turn the direction of what follows, are written out: a name shall look like what it is. */
function visible(text) {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** An element with a class and children; strings become text nodes. */
function el(tag, cls, ...children) {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  for (const child of children) {
    if (child !== null && child !== undefined && child !== '') node.append(typeof child === 'string' ? visible(child) : child);
  }
  return node;
}

/** Sets a node's text, and touches the document only if it differs. */
function setText(node, value) {
  const text = String(value);
  if (node.shown !== text) {
    node.shown = text;
    node.textContent = visible(text);
  }
}

function setTitle(node, value) {
  if (node.title !== value) node.title = value;
}

function setClass(node, value) {
  if (node.className !== value) node.className = value;
}

function setHidden(node, value) {
  if (node.hidden !== value) node.hidden = value;
}

const NONE = '–';
const THIN = '\u202f';

/** 22473297 as 22 473 297, with narrow spaces that do not break. */
function number(value) {
  if (value === null || value === undefined) return NONE;
  return String(value).replace(/\B(?=(?:\d{3})+$)/g, THIN);
}

function plural(n, one, many) {
  return `${number(n)} ${n === 1 ? one : many || `${one}s`}`;
}

/** Few digits, for what is measured: 0.42, 4.2, 42, 4 200. */
function rough(value) {
  if (value === null || value === undefined) return NONE;
  const size = Math.abs(value);
  if (size >= 10 || size === 0) return number(Math.round(value));
  return size >= 1 ? value.toFixed(1) : value.toFixed(2);
}

function bytes(value) {
  if (value === null || value === undefined) return NONE;
  let size = value;
  for (const unit of ['B', 'KiB', 'MiB']) {
    if (size < 1000) return `${rough(size)}${THIN}${unit}`;
    size /= 1024;
  }
  return `${rough(size)}${THIN}GiB`;
}

/** A latency, given in seconds. */
function latency(value) {
  if (value === null || value === undefined) return NONE;
  if (value >= 1) return `${rough(value)}${THIN}s`;
  if (value >= 0.001) return `${rough(value * 1e3)}${THIN}ms`;
  return `${rough(value * 1e6)}${THIN}µs`;
}

/** A duration of seconds in its two largest units: 3 d 4 h, 12 min 5 s. */
function duration(seconds) {
  const parts = [];
  let left = Math.max(0, Math.floor(seconds));
  for (const [unit, size] of [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]]) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count > 0 || (unit === 's' && parts.length === 0)) parts.push(`${count}${THIN}${unit}`);
    if (parts.length === 2 || (parts.length === 1 && count === 0)) break;
  }
  return parts.join(' ');
}

const pad = (n) => String(n).padStart(2, '0');
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** The local time of day; with the day where that is not today. */
function clock(unix) {
  const at = new Date(unix * 1000);
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  if (at.toDateString() === new Date().toDateString()) return time;
  return `${at.getDate()} ${MONTHS[at.getMonth()]} ${time}`;
}

function iso(unix) {
  const at = new Date(unix * 1000);
  return Number.isNaN(at.getTime()) ? '' : at.toISOString();
}

function timeElement(unix) {
  const node = el('time', '', clock(unix));
  node.dateTime = iso(unix);
  node.title = iso(unix);
  return node;
}

/** Words of a filter: all of them have to occur. */
function words(text) {
  return text.toLowerCase().split(/\s+/).filter(Boolean);
}

function matches(haystack, wanted) {
  return wanted.every((word) => haystack.includes(word));
}

/** What is remembered in this browser. Storage can be forbidden: then nothing is. */
const Memory = {
  get(key) {
    try {
      return localStorage.getItem(`kmend.${key}`);
    } catch {
      return null;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(`kmend.${key}`, value);
    } catch {
      // The page works without it.
    }
  },
};

/** Auto, light or dark. Set while the head is read, so that the page is never painted in the wrong one. */
const Theme = (() => {
  const all = ['auto', 'light', 'dark'];
  const listeners = [];
  let now = Memory.get('theme');
  if (!all.includes(now)) now = 'auto';

  function apply() {
    document.documentElement.dataset.theme = now;
    for (const listener of listeners) listener();
  }
  function next() {
    now = all[(all.indexOf(now) + 1) % all.length];
    Memory.set('theme', now);
    apply();
    show();
  }
  function show() {
    setText($('theme'), now[0].toUpperCase() + now.slice(1));
    $('theme').setAttribute('aria-label', `Theme: ${now}`);
  }
  function start() {
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', apply);
    $('theme').addEventListener('click', next);
    show();
  }
  apply();
  return { next, start, onChange: (listener) => listeners.push(listener) };
})();
