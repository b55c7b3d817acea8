(function () {
  "use strict";
  var main = document.getElementById("main");

  // The list: when it is not what it was, it is asked for anew. What was chosen in it stays chosen.
  var fresh = document.getElementById("fresh");
  function listen() {
    var source = new EventSource(fresh.dataset.events + "?after=" + encodeURIComponent(fresh.dataset.after));
    source.addEventListener("changed", function () {
      fetch(location.href, { credentials: "same-origin" }).then(function (r) { return r.ok ? r.text() : Promise.reject(); }).then(function (text) {
        var next = new DOMParser().parseFromString(text, "text/html").getElementById("fresh");
        if (!next) { location.reload(); return; } // a matrix that is done has another page
        var chosen = {}, focus = document.activeElement && document.activeElement.value;
        fresh.querySelectorAll("input:checked").forEach(function (e) { chosen[e.value] = true; });
        var find = fresh.querySelector(".find");
        if (find && find.contains(document.activeElement)) { next.querySelector(".find").replaceWith(find); } // who types is not disturbed
        fresh.replaceWith(next);
        fresh = next;
        fresh.querySelectorAll("input[type=checkbox]").forEach(function (e) {
          e.checked = !!chosen[e.value];
          if (e.value === focus) { e.focus(); }
        });
      }).catch(function () { /* the server has ended; the page stays */ });
    });
    source.addEventListener("bye", function () { source.close(); });
  }
  if (fresh && window.EventSource) { listen(); }

  // A live run.
  var live = document.getElementById("live");
  if (!live || live.dataset.state !== "live" || !window.EventSource) { return; }
  var words = live.dataset, rows = document.getElementById("rows"), ends = document.getElementById("ends"), next = document.getElementById("next"),
    word = live.querySelector(".word"), now = null, began = 0;

  function make(tag, kind, text) {
    var e = document.createElement(tag);
    if (kind) { e.className = kind; }
    if (text) { e.textContent = text; }
    return e;
  }
  function line(row) {
    var tr = make("tr", "c-" + row.class + (row.seen ? " seen" : ""));
    tr.dataset.key = row.key;
    tr.dataset.at = row.at;
    row.cells.forEach(function (c) { tr.appendChild(make("td", "", c)); });
    return tr;
  }
  // As board.put in live.go: a row fills the line that waits for it, or gets one where its time says.
  function put(row) {
    var all = Array.prototype.slice.call(rows.children), tr = line(row);
    var waits = all.find(function (e) { return row.key && e.dataset.key === row.key && !e.classList.contains("seen"); });
    if (waits) { waits.replaceWith(tr); return; }
    rows.insertBefore(tr, all.find(function (e) { return +e.dataset.at > row.at; }) || null);
  }
  function seconds(s) { return s.toFixed(1) + " s"; }
  function tick() {
    if (!now) { return; }
    var t = (performance.now() - began) / 1000;
    var left = now.next_at - t;
    next.textContent = !now.next ? "" : words.next + " " + now.next + (now.elapsed < 0 ? "" : left >= 0 ? " " + words["in"] + " " + seconds(left) : ", " + words.late + " " + seconds(-left));
    now.ends.forEach(function (e, i) {
      var box = ends.children[i];
      box.children[2].textContent = e.timer ? e.timer + ": " + words.fires + " " + seconds(Math.max(0, e.expires - t)) : "";
    });
  }
  function status(s) {
    now = s;
    began = performance.now() - Math.max(0, s.elapsed) * 1000;
    while (ends.children.length > s.ends.length) { ends.lastChild.remove(); }
    s.ends.forEach(function (e, i) {
      var box = ends.children[i];
      if (!box) {
        box = make("div", "end");
        box.append(make("h3"), make("p", "state"), make("p", "timer"), make("p", "dim"));
        ends.appendChild(box);
      }
      box.children[0].textContent = e.host;
      box.children[1].textContent = e.state;
      box.children[3].textContent = e.detail;
    });
    tick();
  }
  var clock = setInterval(tick, 100);
  function end() {
    clearInterval(clock);
    source.close();
    now = null;
    next.textContent = "";
  }

  var source = new EventSource(words.events + "?after=" + words.after);
  function on(kind, f) { source.addEventListener(kind, function (e) { f(JSON.parse(e.data)); }); }
  on("start", function (all) { rows.replaceChildren(); all.forEach(put); });
  on("row", put);
  on("status", status);
  on("verdict", function (v) {
    var p = document.getElementById("verdict");
    p.hidden = false;
    p.children[0].textContent = v.word;
    p.children[1].textContent = v.reason;
    live.className = "head v-" + v.verdict;
    word.textContent = v.word;
  });
  on("over", function (o) {
    end();
    if (o.state === "done") {
      document.getElementById("verdict").hidden = false;
      document.getElementById("report").hidden = false;
    } else if (o.state === "broken") {
      word.textContent = words.broken;
    } else {
      location.reload(); // its folder is gone, or its result cannot be read: the page says so
    }
    var job = main.querySelector(".job");
    if (job) { job.remove(); }
  });
  on("bye", function () { end(); next.textContent = words.ended; });
})();
