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

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
)

//go:embed testdata/look.js
var look string

// chrome starts one headless browser for a test. It ends with the test.
func chrome(t *testing.T) context.Context {
	t.Helper()
	labtest.Need(t, labtest.Command("chromium"))
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute) // the test's own context ends before its clean-up
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
	x := &tab{t: t}
	var cancel context.CancelFunc
	x.ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Listen(x.ctx, x.hear); err != nil {
		t.Fatal(err)
	}
	x.run(command(network.Enable, network.EnableParams{}), command(log.Enable, cdp.Empty{}))
	x.run(before...)
	x.run(chromedp.Navigate("file://"+file), chromedp.WaitReady("body"))
	return x
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

// quiet wants that the page asked for itself alone and said nothing.
func (x *tab) quiet() {
	x.t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.asked) != 1 || !strings.HasPrefix(x.asked[0], "file://") {
		x.t.Errorf("requests: got %q, want one, for the page", x.asked)
	}
	if len(x.said) > 0 {
		x.t.Errorf("console: got %q, want nothing", x.said)
	}
}

// right wants nothing wrong with the page as it is laid out now.
func (x *tab) right(when string) {
	x.t.Helper()
	for _, wrong := range eval[[]string](x, look+"(true)") {
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
		{"runs", browserRuns}, {"faults", browserSeesFaults}, {"keyboard", browserKeyboard}, {"without script", browserWithoutScript},
		{"without style", browserWithoutStyle}, {"hostile", browserHostile}, {"large", browserLarge},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, ctx) })
	}
}

// usual are the stored runs of each experiment as it is without flags.
var usual = []string{"exp0-handshake", "exp1-syn-loss", "exp2-capture-point", "exp2-synack-loss", "exp3-ack-loss", "exp4-keepalive", "exp5-fastopen",
	"exp6-fast-retransmit"}

// paper is the width of A4 between its margins, at 96 pixels an inch.
const paper = (210 - 2*14) * 96 * 10 / 254

// browserRuns lays every stored run out in a browser, at four sizes, in both languages, in the light and in the dark. It catches text that
// stands on other text or cannot be read, arrows out of order, a page wider than its window, and anything that the policy refuses.
func browserRuns(t *testing.T, ctx context.Context) {
	all := stored(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			x := open(t, ctx, write(t, Options{}, all[name]))
			x.run(size(1024), media("screen", "light"))
			x.right("1024 px")
			if !slices.Contains(usual, name) { // the variants differ in the ladder
				x.run(chromedp.Click("[data-scale='1']"))
				x.right("true to time")
				x.quiet()
				return
			}
			x.run(size(360))
			x.right("360 px")
			x.run(chromedp.Click("#lang"), size(1920), media("screen", "dark"))
			x.right("1920 px, Chinese, dark")
			for scale := range scales {
				x.run(chromedp.Click(fmt.Sprintf("[data-scale='%d']", scale)))
				x.right(fmt.Sprintf("scale %d, Chinese, dark", scale))
			}
			x.run(chromedp.Click("#lang"), size(paper), media("print", "light"))
			x.right("A4")
			x.quiet()
		})
	}
}

// browserSeesFaults is the control of browserRuns: pages that are wrong in one way each, which must be seen.
func browserSeesFaults(t *testing.T, ctx context.Context) {
	good := html(t, Options{}, stored(t)["exp1-syn-loss"])
	for _, tt := range []struct{ name, old, with, want string }{
		{"overlap", `x="880" y="4"`, `x="940" y="4"`, "overlap"},
		{"contrast", "--pale:#5a6675", "--pale:#b0b8c0", "contrast"},
		{"wide", "</main>", `<p><svg width="3000" height="9"></svg></p></main>`, "wider than the window"},
		{"order", `id="run1-p2" transform="translate(0,`, `id="run1-p2" transform="translate(0,-`, "stands above"},
		{"struck", `y="-2.5"`, `y="8"`, "struck through"},
		{"id", `<main>`, `<main id="run1">`, "twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.ReplaceAll(good, tt.old, tt.with)
			if text == good {
				t.Fatalf("nothing to break: no %q in the page", tt.old)
			}
			_, rest, _ := strings.Cut(text, "<style>")
			css, _, _ := strings.Cut(rest, "</style>")
			text = strings.ReplaceAll(text, strings.NewReplacer("'", "&#39;", "+", "&#43;").Replace(hash(style)), hash(css))
			file := filepath.Join(t.TempDir(), "page.html")
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			x := open(t, ctx, file, size(1024), media("screen", "light"))
			found := strings.Join(eval[[]string](x, look+"(true)"), "\n")
			if !strings.Contains(found, tt.want) {
				t.Errorf("got %q, want %q among it", found, tt.want)
			}
		})
	}
	t.Run("policy", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "page.html")
		if err := os.WriteFile(file, []byte(strings.Replace(good, "</main>", "<script>document.title='x'</script></main>", 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		x := open(t, ctx, file)
		if got := eval[string](x, "document.title"); got == "x" {
			t.Error("a script that the policy does not name ran")
		}
		x.mu.Lock()
		defer x.mu.Unlock()
		if len(x.said) == 0 {
			t.Error("the browser refused a script and said nothing: quiet would not see it")
		}
	})
}

// browserKeyboard reaches every toggle with the Tab key and uses it, and catches a language toggle that loses text on its way there and
// back.
func browserKeyboard(t *testing.T, ctx context.Context) {
	x := open(t, ctx, write(t, Options{}, stored(t)["exp6-fast-retransmit"]), size(1024))
	before := eval[string](x, "document.body.textContent")
	reach := func(what string) {
		t.Helper()
		for range 80 {
			x.run(chromedp.KeyEvent(kb.Tab))
			if eval[bool](x, "document.activeElement.matches("+fmt.Sprintf("%q", what)+")") {
				if eval[string](x, "getComputedStyle(document.activeElement).outlineStyle") == "none" {
					t.Errorf("%s: got no outline, want the focus to be seen", what)
				}
				return
			}
		}
		t.Fatalf("%s: not reached with the Tab key", what)
	}
	reach("#lang")
	x.run(chromedp.KeyEvent(kb.Enter))
	if got := eval[string](x, "document.documentElement.lang"); got != "zh" {
		t.Errorf("language: got %q, want zh", got)
	}
	if !strings.ContainsRune(eval[string](x, "document.querySelector('.checks h2').textContent"), '期') {
		t.Error("the heading of the checks is not Chinese")
	}
	tall := eval[string](x, "document.querySelector('svg.ladder').getAttribute('height')")
	reach("[data-scale='2']")
	x.run(chromedp.KeyEvent(" "))
	if got := eval[string](x, "document.querySelector('svg.ladder').getAttribute('height')"); got == tall {
		t.Errorf("even scale: the ladder is as tall as before, %s", got)
	}
	if got := eval[string](x, "document.querySelector('[data-scale=\"2\"]').getAttribute('aria-pressed')"); got != "true" {
		t.Errorf("even scale: got aria-pressed=%s, want true", got)
	}
	x.run(chromedp.Click("#lang"))
	if after := eval[string](x, "document.body.textContent"); after != before {
		t.Error("the text after two toggles is not the text before them")
	}
	reach(".story a")
	x.run(chromedp.KeyEvent(kb.Enter))
	if got := eval[string](x, "getComputedStyle(document.querySelector(location.hash + ' .glow')).fill"); got == "none" {
		t.Error("the packet of a sentence is not shown")
	}
	x.quiet()
}

// browserWithoutScript catches a page that says less, or shows dead buttons, where scripts do not run.
func browserWithoutScript(t *testing.T, ctx context.Context) {
	r := stored(t)["exp1-syn-loss"]
	x := open(t, ctx, write(t, Options{Lang: Chinese}, r, r), scripts(false), size(1024))
	x.run(scripts(true)) // for looking, after the page is there
	if eval[bool](x, "document.querySelector('.tools').checkVisibility()") {
		t.Error("the toggles are there, and nothing would happen")
	}
	x.run(chromedp.Click("#run2 > summary"))
	text := eval[string](x, "document.querySelector('#run2').innerText")
	for _, want := range []string{"exp1-syn-loss", "ETIMEDOUT", "1.026"} {
		if !strings.Contains(text, want) {
			t.Errorf("got no %q in the second run", want)
		}
	}
	x.right("without script")
	x.quiet()
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

// browserHostile catches a string of a result that runs, or asks for something.
func browserHostile(t *testing.T, ctx context.Context) {
	all := stored(t)
	for _, name := range []string{"exp0-handshake", "exp6-lose-15-19"} {
		r := all[name]
		hostile(r)
		x := open(t, ctx, write(t, Options{}, r))
		if title := eval[string](x, "document.title"); title == "hacked" {
			t.Errorf("%s: a string of the result ran", name)
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

// browserLarge lays out a run of 300 packets, and 20 runs in one file, in a time that nobody minds.
func browserLarge(t *testing.T, ctx context.Context) {
	all := stored(t)
	for _, tt := range []struct {
		name string
		runs []*result.Result
	}{
		{"300 packets", []*result.Result{long(stored(t)["exp6-fast-retransmit"], 300)}},
		{"20 runs", slices.Collect(maps.Values(all))[:20]},
	} {
		file := write(t, Options{}, tt.runs...)
		began := time.Now()
		x := open(t, ctx, file, size(1024), media("screen", "light"))
		tall := eval[float64](x, "document.documentElement.scrollHeight")
		t.Logf("%s: shown after %v, %.0f px", tt.name, time.Since(began).Round(time.Millisecond), tall)
		x.right(tt.name)
		if len(tt.runs) > 1 {
			x.run(chromedp.Click("#fold"))
			x.right(tt.name + ", all open")
			x.run(chromedp.Click("a.chip"))
		} else {
			for scale := range scales {
				x.run(chromedp.Click(fmt.Sprintf("[data-scale='%d']", scale)))
				x.right(fmt.Sprintf("%s, scale %d", tt.name, scale))
			}
		}
		x.quiet()
	}
}
