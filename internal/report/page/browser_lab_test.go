//go:build lab

package page

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
)

//go:embed testdata/look.js
var look string

// chrome starts one headless browser for a test. It ends with the test.
func chrome(t *testing.T) context.Context {
	t.Helper()
	labtest.Need(t, labtest.Command("chromium"))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // the test's own context ends before its clean-up
	t.Cleanup(cancel)
	o := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.WSURLReadTimeout(time.Minute),
		chromedp.Env("TMPDIR="+t.TempDir())) // else it leaves folders in /tmp
	ctx, cancelAllocator := chromedp.NewExecAllocator(ctx, o...)
	t.Cleanup(cancelAllocator)
	ctx, cancelBrowser := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the browser's end
		cancelBrowser()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	return ctx
}

// step is an action of which nothing is wanted but that it is done.
type step = chromedp.Action[chromedp.Void]

// command is a step that gives the browser a command of its protocol.
func command[P, R any](c cdp.Command[P, R], params P) step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

// tab is a page in the browser with everything that it asked for and said.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu    sync.Mutex
	asked []string
	said  []string
}

// open shows a file in a tab of its own. before runs first.
func open(t *testing.T, ctx context.Context, file string, before ...step) *tab {
	t.Helper()
	x := newTab(t, ctx)
	x.show(t, file, before...)
	return x
}

// newTab is an empty tab. A renderer's start is most of the time that a page takes, so tests of many pages share one.
func newTab(t *testing.T, ctx context.Context) *tab {
	t.Helper()
	x := &tab{t: t}
	var cancel context.CancelFunc
	x.ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Listen(x.ctx, x.hear); err != nil {
		t.Fatal(err)
	}
	x.run(command(network.Enable, network.EnableParams{}), command(log.Enable, cdp.Empty{}))
	return x
}

// show puts another file into the tab, for another test. What the page before asked for and said is forgotten.
func (x *tab) show(t *testing.T, file string, before ...step) {
	t.Helper()
	x.t = t
	x.run(scripts(true), chromedp.Navigate("about:blank"))
	x.run(before...)
	x.mu.Lock()
	x.asked, x.said = nil, nil
	x.mu.Unlock()
	x.run(chromedp.Navigate("file://"+file), chromedp.WaitReady("body"))
}

func (x *tab) hear(event any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		x.asked = append(x.asked, e.Request.URL)
	case *log.EventEntryAdded:
		x.said = append(x.said, e.Entry.Text)
	case *runtime.EventConsoleAPICalled:
		x.said = append(x.said, fmt.Sprint("console.", e.Type))
	case *runtime.EventExceptionThrown:
		x.said = append(x.said, fmt.Sprint(e.ExceptionDetails))
	case *page.EventJavascriptDialogOpening:
		x.said = append(x.said, "dialog "+e.Message)
	}
}

func (x *tab) run(actions ...step) {
	x.t.Helper()
	if err := chromedp.Do(x.ctx, actions...); err != nil {
		x.t.Fatal(err)
	}
}

// eval is the value of an expression.
func eval[T any](x *tab, expression string) T {
	x.t.Helper()
	v, err := chromedp.Run(x.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		x.t.Fatalf("%.60s: %v", expression, err)
	}
	return v
}

// noise is what the page asked for beside itself, and what it or the browser said.
func (x *tab) noise() (wrong []string) {
	x.t.Helper()
	eval[bool](x, "true") // the browser tells in order: what the page did before is heard
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, url := range x.asked {
		if i > 0 || !strings.HasPrefix(url, "file://") {
			wrong = append(wrong, "a request: "+url)
		}
	}
	for _, s := range x.said {
		wrong = append(wrong, "said: "+s)
	}
	return wrong
}

// quiet wants that the page asked for itself alone and said nothing.
func (x *tab) quiet() {
	x.t.Helper()
	for _, wrong := range x.noise() {
		x.t.Error(wrong)
	}
}

// layout is what is wrong with the page as it is laid out now.
func (x *tab) layout() []string { return eval[[]string](x, look+"(true)") }

// right wants nothing wrong with the page as it is laid out now.
func (x *tab) right(when string) {
	x.t.Helper()
	for _, wrong := range x.layout() {
		x.t.Errorf("%s: %s", when, wrong)
	}
}

func write(t *testing.T, o Options, runs ...*result.Result) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, []byte(html(t, o, runs...)), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func size(width int) step { return chromedp.EmulateViewport(int64(width), 900) }

func media(kind, scheme string) step {
	return command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: kind,
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

func scripts(on bool) step {
	return command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
}

// TestBrowser looks at pages in one browser.
func TestBrowser(t *testing.T) {
	ctx := chrome(t)
	for _, tt := range []struct {
		name string
		test func(*testing.T, context.Context)
	}{
		{"runs", browserRuns}, {"broken", browserBroken}, {"keyboard", browserKeyboard}, {"without script", browserWithoutScript},
		{"without style", browserWithoutStyle}, {"hostile", browserHostile}, {"large", browserLarge},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, ctx) })
	}
}

// paper is the width of A4 between its margins, at 96 pixels an inch.
const paper = (210 - 2*14) * 96 * 10 / 254

// browserRuns lays every stored run out in a browser. That of each experiment of the catalogue is looked at in four sizes, both languages, the
// light and the dark, and without script, and gone through with the Tab key; of the variants, which differ in the ladder, the ladder. It
// catches text that stands on other text or cannot be read, arrows out of order, a page wider than its window, what cannot be reached,
// anything that the policy refuses, and an experiment of which no run is stored.
func browserRuns(t *testing.T, ctx context.Context) {
	all := stored(t)
	for _, e := range experiments.All() {
		if all[e.Name] == nil {
			t.Errorf("%s: no run of it is stored: want testdata/%[1]s.json.gz, of tcplab run %[1]s --profile=fast", e.Name)
		}
	}
	x := newTab(t, ctx)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			file := write(t, Options{}, all[name])
			x.show(t, file)
			x.run(size(1024), media("screen", "light"))
			x.right("1024 px")
			if name != all[name].Experiment.Name {
				x.run(chromedp.Click("[data-scale='1']"))
				x.right("true to time")
				x.quiet()
				return
			}
			x.shot(name + "-1024")
			for _, wrong := range x.keyboard() {
				t.Error(wrong)
			}
			x.run(size(360))
			x.right("360 px")
			x.shot(name + "-360")
			x.run(chromedp.Click("#lang"), size(1920), media("screen", "dark"))
			x.right("1920 px, Chinese, dark")
			x.shot(name + "-1920-zh-dark")
			for scale := 1; scale < scales; scale++ {
				x.run(chromedp.Click(fmt.Sprintf("[data-scale='%d']", scale)))
				x.right(fmt.Sprintf("scale %d, Chinese, dark", scale))
			}
			x.run(chromedp.Click("#lang"), size(paper), media("print", "light"))
			x.right("A4")
			x.shot(name + "-a4")
			x.quiet()
			x.show(t, file, scripts(false), size(1024), media("screen", "light"))
			for _, wrong := range x.content(all[name]) {
				t.Errorf("without script: %s", wrong)
			}
			x.quiet()
		})
	}
}

// shot keeps a picture of the whole page, where somebody wants to look at it: TCPLAB_SHOTS names a folder.
func (x *tab) shot(name string) {
	x.t.Helper()
	dir := os.Getenv("TCPLAB_SHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(x.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
	if err != nil {
		x.t.Error(err)
	}
}

// controls are what a reader acts on.
const controls = "#lang,#fold,button,summary,a[href],[data-scale],.wide,pre"

// keyboard goes through the page with the Tab key and says what cannot be reached, or not seen to have the focus, or comes out of order.
func (x *tab) keyboard() (wrong []string) {
	x.t.Helper()
	n := eval[int](x, `(function () {
		window.want = Array.from(document.querySelectorAll("`+controls+`")).filter(function (e) { return e.checkVisibility({ visibilityProperty: true }) && !e.closest("details:not([open])>:not(summary)"); });
		window.got = [];
		document.addEventListener("focusin", function (event) {
			var e = event.target, s = getComputedStyle(e);
			if (window.got.includes(e)) { return; }
			window.got.push(e);
			e.unseen = s.outlineStyle === "none" || parseFloat(s.outlineWidth) < 1;
		});
		return window.want.length;
	})()`)
	for range n + 2 { // each has one stop, and the page may have others
		x.run(chromedp.KeyEvent(kb.Tab))
	}
	return eval[[]string](x, `(function () {
		var wrong = [], name = function (e) { return e.tagName.toLowerCase() + " " + JSON.stringify(e.textContent.trim().slice(0, 20)); };
		window.want.forEach(function (e) { if (!window.got.includes(e)) { wrong.push("not reached with the Tab key: " + name(e)); } });
		window.got.forEach(function (e, i) {
			if (e.unseen) { wrong.push("the focus is not to be seen: " + name(e)); }
			if (i > 0 && !(window.got[i - 1].compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING)) { wrong.push("out of order: " + name(e)); }
		});
		return wrong.slice(0, 6);
	})()`)
}

// browserKeyboard uses what the Tab key reaches, and catches a language toggle that loses text on its way there and back.
func browserKeyboard(t *testing.T, ctx context.Context) {
	x := open(t, ctx, write(t, Options{}, stored(t)["exp6-fast-retransmit"]), size(1024))
	before := eval[string](x, "document.body.textContent")
	press := func(what, key string) {
		t.Helper()
		x.run(chromedp.Focus(what), chromedp.KeyEvent(key))
	}
	press("#lang", kb.Enter)
	if got := eval[string](x, "document.documentElement.lang"); got != "zh" {
		t.Errorf("language: got %q, want zh", got)
	}
	if !strings.ContainsRune(eval[string](x, "document.querySelector('.checks h2').textContent"), '期') {
		t.Error("the heading of the checks is not Chinese")
	}
	tall := eval[string](x, "document.querySelector('svg.ladder').getAttribute('height')")
	press("[data-scale='2']", " ")
	if got := eval[string](x, "document.querySelector('svg.ladder').getAttribute('height')"); got == tall {
		t.Errorf("even scale: the ladder is as tall as before, %s", got)
	}
	if got := eval[string](x, "document.querySelector('[data-scale=\"2\"]').getAttribute('aria-pressed')"); got != "true" {
		t.Errorf("even scale: got aria-pressed=%s, want true", got)
	}
	press("#lang", " ")
	if after := eval[string](x, "document.body.textContent"); after != before {
		t.Error("the text after two toggles is not the text before them")
	}
	press(".story a", kb.Enter)
	if got := eval[string](x, "getComputedStyle(document.querySelector(location.hash + ' .glow')).fill"); got == "none" {
		t.Error("the packet of a sentence is not shown")
	}
	x.quiet()
}

// content is what of a run is not to be seen, with all that is folded opened, and what is there and does nothing: for a page whose scripts
// did not run.
func (x *tab) content(r *result.Result) (wrong []string) {
	x.t.Helper()
	x.run(scripts(true)) // for looking, after the page is there
	text := eval[string](x, "document.querySelectorAll('details').forEach(function (e) { e.open = true; }), document.body.innerText")
	want := []string{r.Experiment.Name, r.Experiment.Question}
	for _, c := range report.CheckRows(r) { // some stand for several
		want = append(want, c.Name, c.Observed)
	}
	for _, s := range r.Story {
		want = append(want, s.Text)
	}
	for _, s := range r.Sysctls {
		want = append(want, s.Name)
	}
	want = append(want, r.Reproduce...)
	for _, w := range want {
		if w = strings.Join(strings.Fields(w), " "); !strings.Contains(strings.Join(strings.Fields(text), " "), w) {
			wrong = append(wrong, "not to be read: "+w)
		}
	}
	if n := eval[int](x, "Array.from(document.querySelectorAll('svg.ladder .shaft')).filter(function (e) { return e.checkVisibility(); }).length"); n < len(r.Packets) {
		wrong = append(wrong, fmt.Sprintf("%d packets drawn, want %d", n, len(r.Packets)))
	}
	if eval[bool](x, "Array.from(document.querySelectorAll('button')).some(function (e) { return e.checkVisibility(); })") {
		wrong = append(wrong, "a button is there, and nothing would happen")
	}
	return wrong
}

// browserWithoutScript catches a run that is folded for good, or laid out badly, where scripts do not run.
func browserWithoutScript(t *testing.T, ctx context.Context) {
	r := stored(t)["exp1-syn-loss"]
	x := open(t, ctx, write(t, Options{}, r, r), scripts(false), size(1024))
	x.right("without script")
	x.run(scripts(true), chromedp.Click("#run2 > summary"))
	if !strings.Contains(eval[string](x, "document.querySelector('#run2').innerText"), "ETIMEDOUT") {
		t.Error("a folded run does not open")
	}
}

// browserWithoutStyle catches a page that only its style makes readable, or a picture whose colours are in the style alone.
func browserWithoutStyle(t *testing.T, ctx context.Context) {
	text := html(t, Options{}, stored(t)["exp6-lose-15-19"])
	before, rest, _ := strings.Cut(text, "<style>")
	_, after, _ := strings.Cut(rest, "</style>")
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, []byte(before+after), 0o644); err != nil {
		t.Fatal(err)
	}
	x := open(t, ctx, file, size(1024), media("screen", "light"))
	for _, wrong := range eval[[]string](x, look+"(false)") { // a wide table may be wide
		t.Error(wrong)
	}
	if got := eval[string](x, "getComputedStyle(document.querySelector('.row.lost .shaft')).stroke"); got != "rgb(179, 38, 30)" {
		t.Errorf("a lost packet: got %s, want red without the style too", got)
	}
	x.quiet()
}

// inert is what a string of a result became: an element, or something that ran.
func (x *tab) inert() []string {
	x.t.Helper()
	return eval[[]string](x, `(function () {
		var wrong = [];
		if (document.title.indexOf("hacked") === 0) { wrong.push("a string ran"); }
		document.querySelectorAll("script,img,iframe,object,embed,link,base,form,style").forEach(function (e, i, all) {
			var name = e.tagName.toLowerCase();
			if (name === "script" && e.parentElement === document.body && !e.src || name === "style" && e.parentElement === document.head) {
				if (document.querySelectorAll(name).length === 1) { return; } // the page's own
			}
			wrong.push("a string became an element: " + name);
		});
		document.querySelectorAll("*").forEach(function (e) {
			Array.from(e.attributes).forEach(function (a) {
				if (/^on/.test(a.name) || /^(href|src|xlink:href)$/.test(a.name) && a.value[0] !== "#") { wrong.push("an attribute that acts: " + a.name + "=" + a.value.slice(0, 30)); }
			});
		});
		return wrong.slice(0, 6);
	})()`)
}

// browserHostile catches a string of a result that runs, or asks for something.
func browserHostile(t *testing.T, ctx context.Context) {
	all := stored(t)
	for _, name := range []string{"exp0-handshake", "exp6-lose-15-19"} {
		r := all[name]
		hostile(r)
		x := open(t, ctx, write(t, Options{}, r))
		for _, wrong := range x.inert() {
			t.Errorf("%s: %s", name, wrong)
		}
		x.quiet()
	}
}

// long is a run of n packets: data, with every tenth lost and repeated.
func long(r *result.Result, n int) *result.Result {
	r.Events, r.Outcome, r.Story = nil, nil, nil
	r.Packets = r.Packets[:3]
	for i := len(r.Packets); i < n; i++ {
		at := result.Seconds(time.Duration(i) * 37 * time.Millisecond)
		there := at + result.Seconds(10*time.Millisecond)
		p := result.Packet{ID: i + 1, From: "client", To: "server", What: "data", Flags: "ACK", RelSeq: uint32(1 + 1000*i), Len: 1000, SrcPort: r.Packets[0].SrcPort, DstPort: 8080,
			SentAt: &at, ArrivedAt: &there, Fate: result.Delivered}
		if i%10 == 0 {
			p.What, p.N, p.ArrivedAt, p.Fate = "rto-retransmission", 1, nil, result.Lost
		}
		r.Packets = append(r.Packets, p)
	}
	return r
}

// browserLarge lays out a run of 300 packets and 20 runs in one file, at every width, in the light, in the dark and on paper.
func browserLarge(t *testing.T, ctx context.Context) {
	all := stored(t)
	for _, tt := range []struct {
		name string
		runs []*result.Result
	}{
		{"300 packets", []*result.Result{long(all["exp6-fast-retransmit"], 300)}},
		{"20 runs", many(t, 20)},
	} {
		began := time.Now()
		x := open(t, ctx, write(t, Options{}, tt.runs...), size(1024), media("screen", "light"))
		tall := eval[float64](x, "document.documentElement.scrollHeight")
		t.Logf("%s: shown after %v, %.0f px", tt.name, time.Since(began).Round(time.Millisecond), tall)
		x.right(tt.name)
		if len(tt.runs) > 1 {
			x.run(chromedp.Click("#fold"))
		} else {
			for scale := scales - 1; scale >= 0; scale-- {
				x.run(chromedp.Click(fmt.Sprintf("[data-scale='%d']", scale)))
				if scale > 0 { // which it was laid out in just now
					x.right(fmt.Sprintf("%s, scale %d", tt.name, scale))
				}
			}
		}
		for _, width := range []int{360, 1920} {
			x.run(size(width), media("screen", "dark"))
			x.right(fmt.Sprintf("%s, all open, %d px, dark", tt.name, width))
		}
		x.run(size(paper), media("print", "dark")) // who reads in the dark prints on white
		x.right(tt.name + ", A4")
		x.quiet()
	}
}
