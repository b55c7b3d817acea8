(function () {
  "use strict";
  var all = function (s, e) { return Array.prototype.slice.call((e || document).querySelectorAll(s)); };
  var part = function (e, name, i) { return +e.getAttribute("data-" + name).split(" ")[i]; };

  all(".tools,.scales").forEach(function (e) { e.hidden = false; });

  // The ladder's three scales: each place is in the page three times.
  function scale(box, i) {
    var svg = box.querySelector("svg.ladder"), h = part(svg, "h", i);
    svg.setAttribute("viewBox", "0 0 960 " + h);
    svg.setAttribute("height", h);
    svg.classList.toggle("true", i === 1);
    all(".life", svg).forEach(function (e) { e.setAttribute("y", part(e, "y", i)); e.setAttribute("height", part(e, "h", i)); });
    all("path.w", svg).forEach(function (e) {
      var x = e.getAttribute("data-x"), near = e.getAttribute("data-in");
      e.setAttribute("d", "M" + near + " " + part(e, "a", i) + "H" + x + "V" + part(e, "b", i) + "H" + near);
    });
    all(".wt", svg).forEach(function (e) { e.setAttribute("y", part(e, "y", i)); });
    all(".row", svg).forEach(function (row) {
      var d = part(row, "d", i), line = row.querySelector(".shaft"), tip = row.querySelector(".tip"), label = row.querySelector(".label");
      row.setAttribute("transform", "translate(0," + part(row, "y", i) + ")");
      if (!line) { return; }
      line.setAttribute("y2", d);
      var angle = Math.atan(d / (line.getAttribute("x2") - line.getAttribute("x1"))) * 180 / Math.PI;
      tip.setAttribute("transform", "translate(" + tip.getAttribute("data-x") + "," + (tip.classList.contains("fixed") ? 0 : d) + ") rotate(" + angle + ")");
      if (label) {
        var x = label.getAttribute("x"), y = d / 2 - 6;
        label.setAttribute("y", y);
        label.setAttribute("transform", "rotate(" + angle + " " + x + " " + y + ")");
      }
    });
  }
  all(".packets").forEach(function (box) {
    var buttons = all("button[data-scale]", box);
    buttons.forEach(function (b, i) {
      b.addEventListener("click", function () {
        buttons.forEach(function (o) { o.setAttribute("aria-pressed", String(o === b)); });
        scale(box, i);
      });
    });
  });

  // Each text that has another language carries it; the toggle swaps the two.
  var lang = document.getElementById("lang");
  lang.addEventListener("click", function () {
    all("[data-t]").forEach(function (e) {
      var other = e.getAttribute("data-t");
      e.setAttribute("data-t", e.textContent);
      e.textContent = other;
    });
    var zh = document.documentElement.lang !== "zh";
    document.documentElement.lang = zh ? "zh" : "en";
    lang.lang = zh ? "en" : "zh";
    lang.textContent = zh ? "English" : "中文";
  });

  // Runs are folded where there are several. A link into one opens it, and so does printing.
  var runs = all("details.run"), fold = document.getElementById("fold");
  function show() {
    var e = location.hash && document.getElementById(location.hash.slice(1));
    var shut = false;
    for (var box = e; box; box = box.parentElement) {
      if (box.tagName === "DETAILS" && !box.open) { box.open = shut = true; }
    }
    if (shut) { e.scrollIntoView(); }
  }
  function open(o) { runs.forEach(function (r) { r.open = o; }); fold.setAttribute("aria-pressed", String(o)); }
  fold.hidden = runs.length === 0;
  fold.addEventListener("click", function () { open(fold.getAttribute("aria-pressed") !== "true"); });
  addEventListener("hashchange", show);
  addEventListener("beforeprint", function () { open(true); });
  show();
})();
