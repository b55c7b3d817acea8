// Looks at the page as it is laid out and returns what is wrong with it, as a list of sentences.
(function (wide) {
  "use strict";
  var wrong = [], all = function (s, e) { return Array.prototype.slice.call((e || document).querySelectorAll(s)); };
  var say = function (s) { if (wrong.length < 12) { wrong.push(s); } };
  var shown = function (e) { return e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !e.closest("title"); };

  // Every piece of text with its boxes. A line of HTML is a box of its own; a text of an SVG is one.
  function texts() {
    var out = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), n, r;
    while ((n = walk.nextNode())) {
      var e = n.parentElement, svg = e.closest("text");
      if (!n.data.trim() || !shown(e) || e.closest("script,style,title")) { continue; }
      if (svg) {
        if (svg.seenByLook) { continue; }
        svg.seenByLook = true;
        out.push({ e: svg, text: svg.textContent, box: svg.getBoundingClientRect() });
        continue;
      }
      r = document.createRange();
      r.selectNodeContents(n);
      Array.prototype.forEach.call(r.getClientRects(), function (b) { if (b.width > 1) { out.push({ e: e, text: n.data.trim(), box: b }); } });
    }
    out.forEach(function (t) { delete t.e.seenByLook; });
    return out;
  }
  var found = texts();

  // No two overlap by more than what the ascenders of a font leave free.
  found.sort(function (a, b) { return a.box.top - b.box.top; });
  for (var i = 0; i < found.length; i++) {
    for (var j = i + 1; j < found.length && found[j].box.top < found[i].box.bottom; j++) {
      var a = found[i].box, b = found[j].box;
      var x = Math.min(a.right, b.right) - Math.max(a.left, b.left), y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      var free = 0.28 * Math.min(a.height, b.height);
      if (x > 1.5 && y > Math.max(free, 2)) { say("overlap of " + JSON.stringify(found[i].text.slice(0, 40)) + " and " + JSON.stringify(found[j].text.slice(0, 40)) + " by " + x.toFixed() + "x" + y.toFixed()); }
    }
  }

  // The page is as wide as the window: what is wider scrolls in a box of its own.
  var over = document.documentElement.scrollWidth - window.innerWidth;
  if (over > 0 && wide) { say("the page is " + over + " px wider than the window"); }

  // Contrast of every text with what is behind it.
  function rgb(s) { var m = s.match(/[\d.]+/g).map(Number); return { c: m.slice(0, 3), a: m.length > 3 ? m[3] : 1 }; }
  function lum(c) {
    var l = c.map(function (v) { v /= 255; return v <= 0.03928 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4); });
    return 0.2126 * l[0] + 0.7152 * l[1] + 0.0722 * l[2];
  }
  function behind(e) {
    if (e.classList.contains("inbox")) {
      var b = e.getBoundingClientRect(), x = (b.left + b.right) / 2, y = (b.top + b.bottom) / 2;
      var box = all(".box", e.closest("svg")).filter(function (r) { var q = r.getBoundingClientRect(); return q.left <= x && q.right >= x && q.top <= y && q.bottom >= y; }).pop();
      if (box) { return rgb(getComputedStyle(box).fill).c; }
    }
    for (; e; e = e.parentElement) {
      var c = rgb(getComputedStyle(e).backgroundColor);
      if (c.a > 0.99) { return c.c; }
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 22, 28] : [255, 255, 255];
  }
  var told = {};
  found.forEach(function (t) {
    var style = getComputedStyle(t.e), ink = rgb(t.e.closest("svg") ? style.fill : style.color).c, back = behind(t.e);
    var l1 = lum(ink), l2 = lum(back), ratio = (Math.max(l1, l2) + 0.05) / (Math.min(l1, l2) + 0.05), key = ink + "/" + back;
    if (ratio < 4.5 && !told[key]) { told[key] = true; say("contrast " + ratio.toFixed(2) + " of " + JSON.stringify(t.text.slice(0, 30)) + ", " + key); }
  });

  // What is drawn and means something stands out from what is behind it by 3:1 (WCAG 2.2, success criterion 1.4.11), by its filling or by
  // its border. A grid, the paper and the glow of a chosen line mean nothing.
  all("svg line,svg path,svg rect,svg circle").filter(shown).forEach(function (e) {
    if (e.closest(".grid,.paper,.glow")) { return; }
    var style = getComputedStyle(e), back = behind(e), best = 0;
    [style.stroke, e.tagName === "line" ? "none" : style.fill].forEach(function (paint) {
      if (paint === "none" || !rgb(paint).a) { return; }
      var l1 = lum(rgb(paint).c), l2 = lum(back);
      best = Math.max(best, (Math.max(l1, l2) + 0.05) / (Math.min(l1, l2) + 0.05));
    });
    var key = e.tagName + "." + e.getAttribute("class") + "/" + style.stroke + "/" + style.fill + "/" + back;
    if (best < 3 && !told[key]) { told[key] = true; say("drawn with contrast " + best.toFixed(2) + ", want 3: " + key); }
  });

  // What scrolls can be scrolled with the keyboard, in every browser.
  all(".wide,pre").filter(shown).forEach(function (e) {
    if (e.scrollWidth > e.clientWidth + 1 && e.tabIndex < 0) { say("a box that scrolls and cannot be focused: " + (e.textContent || "").trim().slice(0, 30)); }
  });

  // Arrows: in the order of time, and inside the picture.
  all("svg.ladder").filter(shown).forEach(function (svg) {
    var last = -1, h = +svg.getAttribute("viewBox").split(" ")[3];
    all(".row", svg).forEach(function (row) {
      var y = +row.getAttribute("transform").match(/,([-\d.]+)/)[1], line = row.querySelector(".shaft");
      if (y < last) { say(row.id + " stands above the line before it"); }
      last = y;
      if (y < 0 || y > h) { say(row.id + " is outside of the picture"); }
      if (!line) { return; }
      ["x1", "x2"].forEach(function (k) { var x = +line.getAttribute(k); if (x < 0 || x > 960) { say(row.id + ": " + k + "=" + x); } });
      if (y + +line.getAttribute("y2") > h && !svg.classList.contains("true")) { say(row.id + " ends below the picture"); }
    });
    // No arrow strikes words through: at the middle of the words, no arrow is between their foot and their head.
    var lines = all(".row", svg).map(function (row) {
      var y = +row.getAttribute("transform").match(/,([-\d.]+)/)[1], line = row.querySelector(".shaft"), label = row.querySelector(".label");
      return {
        id: row.id, y: y, line: line && ["x1", "x2", "y2"].map(function (k) { return +line.getAttribute(k); }),
        label: label && shown(label) && { x: +label.getAttribute("x"), y: y + +label.getAttribute("y") }
      };
    });
    lines.forEach(function (a) {
      if (!a.label) { return; }
      lines.forEach(function (b) {
        if (!b.line || Math.min(b.line[0], b.line[1]) > a.label.x || Math.max(b.line[0], b.line[1]) < a.label.x) { return; }
        var y = b.y + b.line[2] * (a.label.x - b.line[0]) / (b.line[1] - b.line[0]);
        if (y < a.label.y - 0.5 && y > a.label.y - 8.5) { say("the words of " + a.id + " are struck through by the arrow of " + b.id); }
      });
    });
    var frame = svg.getBoundingClientRect();
    all("text", svg).filter(shown).forEach(function (t) {
      var b = t.getBoundingClientRect();
      if (b.left < frame.left - 1 || b.right > frame.right + 1 || b.bottom > frame.bottom + 1) { say("outside of the ladder: " + t.textContent); }
    });
  });

  var ids = {};
  all("[id]").forEach(function (e) { if (ids[e.id]) { say("id " + e.id + " twice"); } ids[e.id] = true; });
  return wrong;
})
