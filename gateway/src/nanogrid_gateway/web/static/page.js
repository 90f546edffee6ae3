// What the page does beyond htmx: it asks for changes while it is seen, shows ages, follows a log.
"use strict";
(() => {
  const LOG_CHARACTERS = 400_000;
  const LONGEST_PAUSE = 30;
  let failures = 0;
  let timer = 0;

  // --- asking for changes -------------------------------------------------------------------
  const seconds = () => Number(document.getElementById("live")?.dataset.seconds || 0);

  function plan() {
    clearTimeout(timer);
    if (!seconds() || document.hidden) return;
    timer = setTimeout(ask, 1000 * Math.min(LONGEST_PAUSE, seconds() * 2 ** Math.min(failures, 6)));
  }

  function ask() {
    plan();
    if (!document.hidden) htmx.trigger(document.body, "poll");
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : ask()));
  document.addEventListener("htmx:afterRequest", (event) => {
    failures = event.detail.successful ? 0 : failures + 1;
    document.getElementById("offline").hidden = failures < 2;
    plan();
  });
  document.addEventListener("htmx:configRequest", (event) => {
    for (const [name, value] of [...event.detail.formData.entries()])
      if (value === "") event.detail.formData.delete(name);
  });
  document.addEventListener("htmx:afterSwap", () => {
    ages();
    // The run has ended: its files and streams are parts of the page that are not asked for again.
    if (document.querySelector("[data-waits]") && document.querySelector("[data-ended]")) location.reload();
  });

  // --- ages ---------------------------------------------------------------------------------
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

  function span(total) {
    for (const [size, unit] of UNITS) if (total >= size) return `${Math.floor(total / size)} ${unit}`;
    return "0 s";
  }

  function ages() {
    for (const time of document.querySelectorAll("time[data-age], time[data-since]")) {
      const passed = Math.max(0, (Date.now() - Date.parse(time.dateTime)) / 1000);
      if (!time.title) time.title = time.textContent;
      time.textContent = "since" in time.dataset ? span(passed) : `${span(passed)} ago`;
      if ("since" in time.dataset) time.parentElement.firstChild.textContent = "for ";
    }
  }

  // --- the log ------------------------------------------------------------------------------
  function followLog(box) {
    const state = document.getElementById("log-state");
    let source = null;
    let done = false;

    function show(text) {
      const below = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
      box.append(text);
      if (box.textContent.length > LOG_CHARACTERS)
        box.textContent = `…\n${box.textContent.slice(-LOG_CHARACTERS / 2)}`;
      if (below) box.scrollTop = box.scrollHeight;
    }

    function open() {
      if (source || done) return;
      source = new EventSource(box.dataset.log);
      source.onopen = () => {
        box.textContent = ""; // a stream begins with all that was printed so far
        state.textContent = "live";
      };
      source.addEventListener("log", (event) => show(JSON.parse(event.data).text));
      source.addEventListener("end", () => finish("the code has ended"));
      source.addEventListener("gone", () => again("the gateway restarts", 1));
      source.addEventListener("error", (event) => {
        if (event.data) again(JSON.parse(event.data).message, 5);
        else if (source.readyState === EventSource.CLOSED) again("not to be had now, trying again", 5);
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

    function again(text, pause) {
      close();
      state.textContent = text;
      setTimeout(() => document.hidden || open(), pause * 1000);
    }

    // Streams are few: one that nobody sees is given back.
    document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
    window.addEventListener("pagehide", close);
    if (!document.hidden) open();
  }

  // --- start --------------------------------------------------------------------------------
  ages();
  setInterval(() => document.hidden || ages(), 1000);
  plan();
  const box = document.querySelector("pre[data-log]");
  if (box) followLog(box);
})();
