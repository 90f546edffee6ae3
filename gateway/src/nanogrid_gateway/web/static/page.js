// Beyond htmx: polls for changes while the page is visible, shows ages, follows a log.
"use strict";
(() => {
  const LOG_CHARACTERS = 400_000;
  const MAX_POLL_SECONDS = 30;
  let failures = 0;
  let timer = 0;

  // --- polls --------------------------------------------------------------------------------
  const seconds = () => Number(document.getElementById("live")?.dataset.seconds || 0);

  function schedule() {
    clearTimeout(timer);
    if (!seconds() || document.hidden) return;
    timer = setTimeout(poll, 1000 * Math.min(MAX_POLL_SECONDS, seconds() * 2 ** Math.min(failures, 6)));
  }

  function poll() {
    schedule();
    if (!document.hidden) htmx.trigger(document.body, "poll");
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : poll()));
  document.addEventListener("htmx:afterRequest", (event) => {
    failures = event.detail.successful ? 0 : failures + 1;
    document.getElementById("offline").hidden = failures < 2;
    schedule();
  });
  document.addEventListener("htmx:configRequest", (event) => {
    for (const [name, value] of [...event.detail.formData.entries()])
      if (value === "") event.detail.formData.delete(name);
  });
  document.addEventListener("htmx:afterSwap", () => {
    ages();
    // The run has ended: its files and output are outside the polled part of the page.
    if (document.querySelector("[data-unfinished]") && document.querySelector("[data-ended]")) location.reload();
  });

  // --- ages ---------------------------------------------------------------------------------
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

  function span(elapsed) {
    for (const [size, unit] of UNITS) if (elapsed >= size) return `${Math.floor(elapsed / size)} ${unit}`;
    return "0 s";
  }

  function ages() {
    for (const time of document.querySelectorAll("time[data-age], time[data-since]")) {
      const elapsed = Math.max(0, (Date.now() - Date.parse(time.dateTime)) / 1000);
      if (!time.title) time.title = time.textContent;
      time.textContent = "since" in time.dataset ? span(elapsed) : `${span(elapsed)} ago`;
      if ("since" in time.dataset) time.parentElement.firstChild.textContent = "for ";
    }
  }

  // --- the log ------------------------------------------------------------------------------
  function followLog(box) {
    const state = document.getElementById("log-state");
    let source = null;
    let done = false;

    function show(text) {
      const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
      box.append(text);
      if (box.textContent.length > LOG_CHARACTERS)
        box.textContent = `…\n${box.textContent.slice(-LOG_CHARACTERS / 2)}`;
      if (atEnd) box.scrollTop = box.scrollHeight;
    }

    function open() {
      if (source || done) return;
      source = new EventSource(box.dataset.log);
      source.onopen = () => {
        box.textContent = ""; // a stream starts with all output so far
        state.textContent = "live";
      };
      source.addEventListener("log", (event) => show(JSON.parse(event.data).text));
      source.addEventListener("end", () => finish("the code has ended"));
      source.addEventListener("gone", () => reopen("the gateway is restarting", 1));
      source.addEventListener("error", (event) => {
        if (event.data) reopen(JSON.parse(event.data).message, 5);
        else if (source.readyState === EventSource.CLOSED) reopen("not available now, retrying", 5);
        else state.textContent = "connecting …";
      });
    }

    function close() {
      source?.close();
      source = null;
    }

    function finish(text) {
      done = true;
      close();
      state.textContent = text;
    }

    function reopen(text, delay) {
      close();
      state.textContent = text;
      setTimeout(() => document.hidden || open(), delay * 1000);
    }

    // The number of streams is limited: a hidden tab closes its stream.
    document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
    window.addEventListener("pagehide", close);
    if (!document.hidden) open();
  }

  // --- start --------------------------------------------------------------------------------
  ages();
  setInterval(() => document.hidden || ages(), 1000);
  schedule();
  const box = document.querySelector("pre[data-log]");
  if (box) followLog(box);
})();
