//go:build lab && !race

// Not under the race detector: the handlers have tests of their own there, and a browser adds only its time.

package web

import (
	"bytes"
	"context"
	"fmt"
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

// browser is a headless Chromium with one tab, and everything that the tab asked for and said.
type browser struct {
	t    *testing.T
	ctx  context.Context
	look string // what finds faults in a page's layout

	mu    sync.Mutex
	asked []string
	said  []string
}

type step = chromedp.Action[chromedp.Void]

func command[P, R any](c cdp.Command[P, R], params P) step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

func openBrowser(t *testing.T) *browser {
	t.Helper()
	labtest.Need(t, labtest.Command("chromium"))
	look, err := os.ReadFile("../report/page/testdata/look.js")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	o := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.WSURLReadTimeout(time.Minute), chromedp.Env("TMPDIR="+t.TempDir()))
	ctx, cancelAllocator := chromedp.NewExecAllocator(ctx, o...)
	t.Cleanup(cancelAllocator)
	ctx, cancelBrowser := chromedp.NewContext(ctx)
	b := &browser{t: t, ctx: ctx, look: string(look)}
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the browser's end
		cancelBrowser()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatal(err)
	}
	b.run(command(network.Enable, network.EnableParams{}), command(log.Enable, cdp.Empty{}))
	return b
}

func (b *browser) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.asked = append(b.asked, e.Request.URL)
	case *log.EventEntryAdded:
		b.said = append(b.said, e.Entry.Text)
	case *runtime.EventConsoleAPICalled:
		b.said = append(b.said, fmt.Sprint("console.", e.Type))
	case *runtime.EventExceptionThrown:
		b.said = append(b.said, fmt.Sprint(e.ExceptionDetails))
	case *page.EventJavascriptDialogOpening:
		b.said = append(b.said, "dialog "+e.Message)
	}
}

func (b *browser) run(actions ...step) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%.80s: %v", expression, err)
	}
	return v
}

// until waits until an expression holds. It is asked again and again: the page changes by itself.
func (b *browser) until(what, expression string) {
	b.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	give := time.Now().Add(time.Minute)
	for range tick.C {
		if v, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression)); err == nil && v {
			return
		}
		if time.Now().After(give) {
			b.t.Fatalf("%s: it did not come\n%s", what, eval[string](b, "document.body.innerText"))
		}
	}
}

// quiet wants that all requests since the last time went to the server, and that the console stayed empty.
func (b *browser) quiet(s *Server, when string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, u := range b.asked {
		if !strings.HasPrefix(u, "http://"+s.listener.Addr().String()+"/") {
			b.t.Errorf("%s: it asked for %s", when, u)
		}
	}
	if len(b.asked) == 0 {
		b.t.Errorf("%s: no request was seen: the test does not see them", when)
	}
	for _, m := range b.said {
		b.t.Errorf("%s: console: %s", when, m)
	}
	b.asked, b.said = nil, nil
}

func (b *browser) right(when string) {
	b.t.Helper()
	for _, wrong := range eval[[]string](b, b.look+"(true)") {
		b.t.Errorf("%s: %s", when, wrong)
	}
}

// shot keeps a picture of the whole page, where somebody wants to look at it: TCPLAB_SHOTS names a folder.
func (b *browser) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("TCPLAB_SHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
	if err != nil {
		b.t.Error(err)
	}
}

func size(width int) step { return chromedp.EmulateViewport(int64(width), 900) }

func scheme(s string) step {
	return command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: s}}})
}

func scripts(on bool) step {
	return command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
}

// visit goes to a page of the server.
func (b *browser) visit(s *Server, path string) {
	b.t.Helper()
	b.run(chromedp.Navigate("http://"+s.listener.Addr().String()+s.path(path)), chromedp.WaitReady("body"))
}

const (
	runA = "20260101-000000-exp1-syn-loss"
	runB = "20260102-000000-exp6-fast-retransmit"

	openMatrix = "20260202-000000-matrix" // without its matrix.json
)

// museum is a server over runs of several kinds, one of them hostile.
func museum(t *testing.T) (*Server, *fake) {
	s, lab := serve(t, func(o *Options) {
		o.Kernels = []string{"6.12.9", "6.1.158"}
		o.Diff = func(a, b *result.Result) (result.Difference, error) {
			return result.Difference{Predicted: result.Compare(a.Prediction, b.Prediction), Causes: []result.Cause{{Name: "net.ipv4.tcp_syn_retries", A: "1", B: "2", Code: "TL1202", Changes: 2}}}, nil
		}
	})
	lab.hold = make(chan struct{})
	put(t, s.Dir, runB, "result.json", stored(t, "exp6-fast-retransmit"))
	put(t, s.Dir, runA, "client.pcapng", []byte("pcapng"))
	put(t, s.Dir, "20260103-000000-exp0-handshake", "result.json", stored(t, "exp0-handshake"))
	put(t, s.Dir, "20260104-000000-exp1-drop-at-link-down", "result.json", stored(t, "exp1-drop-at-link-down"))
	put(t, s.Dir, "20260105-000000-broken", "result.json", []byte("{"))
	putMatrix(t, s.Dir, aMatrix, nil)
	putMatrix(t, s.Dir, openMatrix, nil)
	if err := os.Remove(filepath.Join(s.Dir, openMatrix, matrixFile)); err != nil {
		t.Fatal(err)
	}
	put(t, s.Dir, `20260106-"><img src=x onerror=alert(1)>`, "result.json", bytes.ReplaceAll(stored(t, "exp1-syn-loss"), []byte("every SYN"), []byte("</p><script>alert(1)<\\/script>")))
	return s, lab
}

// TestBrowser looks at the page in one browser.
func TestBrowser(t *testing.T) {
	b := openBrowser(t)
	s, lab := museum(t)
	b.run(chromedp.Navigate(s.URL()))
	b.until("the list", "!!document.querySelector('table.runs')")
	if got := eval[string](b, "location.href"); strings.Contains(got, "token") {
		t.Errorf("the token stays in the address: %s", got)
	}
	b.quiet(s, "entering")
	for _, tt := range []struct {
		name string
		test func(*browser, *Server, *fake)
	}{
		{"pages", browserPages}, {"live", browserLive}, {"keyboard", browserKeyboard}, {"keyboard's control", browserKeyboardControl}, {"without script", browserWithoutScript}, {"control", browserControl},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.t = t
			tt.test(b, s, lab)
		})
	}
	b.t = t
}

// browserPages lays every kind of page out at three widths, in both languages, light and dark, and catches text on text, text that cannot be
// read, a page wider than its window, a request that leaves it, and anything that the policy refuses.
func browserPages(b *browser, s *Server, _ *fake) {
	for name, path := range map[string]string{
		"list": "/", "found": "/?q=exp1&verdict=pass", "nothing": "/?q=nothing", "run": "/runs/" + runA + "/", "bad": "/runs/20260105-000000-broken/",
		"hostile": "/runs/20260106-%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E/",
		"new":     "/new", "form": "/new/exp1-syn-loss?p-syn-retries=0", "predict": "/predict/exp1-syn-loss?p-syn-retries=3",
		"matrix": "/runs/" + aMatrix + "/", "open matrix": "/runs/" + openMatrix + "/",
		"compare": "/compare?run=" + runA + "&run=20260104-000000-exp1-drop-at-link-down", "report": "/report?run=" + runA + "&run=" + runB,
	} {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		for i, width := range []int{360, 1024, 1920} {
			if i == 1 && os.Getenv("TCPLAB_SHOTS") == "" { // between the other two: for the eye
				continue
			}
			light, lang := []string{"light", "dark", "dark"}[i], []string{"en", "en", "zh"}[i]
			b.run(size(width), scheme(light))
			b.visit(s, path+sep+"lang="+lang)
			when := fmt.Sprintf("%s, %d px, %s, %s", name, width, light, lang)
			b.right(when)
			if got := eval[string](b, "document.documentElement.lang"); got != lang {
				b.t.Errorf("%s: got the language %q", when, got)
			}
			b.shot(fmt.Sprintf("%s-%d-%s-%s", name, width, light, lang))
			if name == "bad" { // its status is an error, and the console says so
				b.mu.Lock()
				b.said = slices.DeleteFunc(b.said, func(m string) bool { return strings.Contains(m, "422") })
				b.mu.Unlock()
			}
			b.quiet(s, when)
		}
	}
	b.run(size(1024), scheme("light"))
	b.visit(s, "/?lang=en")
}

// browserLive starts a run from the form and watches it: rows that fill as the events come, the countdown, the states, the verdict, and the
// report at the end, without the page being loaded again. Then it watches the list hear of a run that somebody else made.
func browserLive(b *browser, s *Server, lab *fake) {
	b.visit(s, "/new/exp1-syn-loss")
	b.run(chromedp.Click("button.first"))
	b.until("the live page", "!!document.getElementById('live')")
	const run = "20300101-000000-new"
	b.t.Log(eval[string](b, "location.pathname"))
	lines := script(b.t, "exp1-syn-loss")
	appendLines(b.t, s, run, lines[0])
	b.until("the predicted rows", "document.querySelectorAll('#rows tr').length > 1 && !document.querySelector('#rows tr.seen')")
	rows := eval[int](b, "document.querySelectorAll('#rows tr').length")
	b.run(chromedp.Evaluate[chromedp.Void]("void(window.same = true)"))
	for i, l := range lines[1 : len(lines)-1] {
		appendLines(b.t, s, run, l)
		if i == 1 {
			b.until("the countdown", "/next: SYN again 1 in 0|next: SYN again 1, late by/.test(document.getElementById('next').textContent)")
			b.until("both ends", "document.getElementById('ends').innerText.includes('SYN-SENT') && document.getElementById('ends').innerText.includes('LISTEN')")
			b.shot("live-1024")
			b.right("live")
			b.run(size(360), scheme("dark"))
			b.right("live, 360 px, dark")
			b.shot("live-360-dark")
			b.run(size(1024), scheme("light"))
		}
	}
	b.until("every row", "document.querySelectorAll('#rows tr.seen').length === document.querySelectorAll('#rows tr').length")
	if got := eval[int](b, "document.querySelectorAll('#rows tr').length"); got != rows {
		b.t.Errorf("got %d rows at the end, want the %d that were predicted", got, rows)
	}
	appendLines(b.t, s, run, lines[len(lines)-1])
	b.until("the verdict", "document.querySelector('#live .word').textContent === 'PASS'")
	put(b.t, s.Dir, run, "result.json", stored(b.t, "exp1-syn-loss"))
	close(lab.hold)
	b.until("the end", "!document.getElementById('report').hidden")
	if !eval[bool](b, "window.same === true") {
		b.t.Error("the page was loaded again")
	}
	b.right("a run that is over")
	b.run(chromedp.Click("#report"))
	b.until("its report", "!!document.querySelector('svg.ladder')")
	b.quiet(s, "live")

	b.visit(s, "/")
	b.run(chromedp.Click("input[value='"+runA+"']"), chromedp.Evaluate[chromedp.Void]("void(window.same = true)"))
	put(b.t, s.Dir, "20310101-000000-from-elsewhere", "result.json", stored(b.t, "exp0-handshake"))
	b.until("a run of somebody else's", "document.querySelector('table.runs').innerText.includes('from-elsewhere')")
	if !eval[bool](b, "window.same && document.querySelector(\"input[value='"+runA+"']\").checked") {
		b.t.Error("the list was loaded again, or what was chosen in it is not any more")
	}
	b.run(chromedp.Click("input[value='" + runB + "']"))
	b.run(chromedp.Click("button[formaction]"))
	b.until("one report", "document.querySelectorAll('details.run').length === 2")
	b.quiet(s, "the list")
}

// What reach says.
const (
	notReached = "it is not reached with the Tab key"
	notSeen    = "it has the focus, and that is not to be seen"
)

// reach goes on to an element with the Tab key and says what is wrong with that; empty: nothing.
func (b *browser) reach(what string) string {
	b.t.Helper()
	for range eval[int](b, "document.querySelectorAll('a,button,input,select,[tabindex]').length") + 2 { // each has one stop
		b.run(chromedp.KeyEvent(kb.Tab))
		if !eval[bool](b, fmt.Sprintf("document.activeElement.matches(%q)", what)) {
			continue
		}
		if eval[bool](b, "(function (s) { return s.outlineStyle === 'none' || parseFloat(s.outlineWidth) < 1; })(getComputedStyle(document.activeElement))") {
			return notSeen
		}
		return ""
	}
	return notReached
}

// browserKeyboardControl is the control of reach: a page is broken in one way, and reach must see it. In the same page, whole, it finds nothing.
func browserKeyboardControl(b *browser, s *Server, _ *fake) {
	for _, tt := range []struct{ name, what, broken, want string }{
		{"whole", "#lang", "", ""},
		{"left out of the order", "#lang", "e.tabIndex = -1", notReached},
		{"a button that cannot be pressed", ".find button", "e.disabled = true", notReached},
		{"no outline", "#lang", "e.style.outline = 'none'", notSeen},
		{"an outline of no width", "input[type=search]", "e.style.outlineWidth = '0'", notSeen},
	} {
		b.visit(s, "/")
		b.run(chromedp.Evaluate[chromedp.Void](fmt.Sprintf("void(function (e) { %s; }(document.querySelector(%q)))", tt.broken, tt.what)))
		if got := b.reach(tt.what); got != tt.want {
			b.t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	b.quiet(s, "the keyboard's control")
}

// browserKeyboard goes from the list to two runs side by side with the keyboard alone, and catches a control that cannot be reached, or whose
// focus cannot be seen.
func browserKeyboard(b *browser, s *Server, _ *fake) {
	b.visit(s, "/")
	reach := func(what string) {
		b.t.Helper()
		if wrong := b.reach(what); wrong != "" {
			b.t.Errorf("%s: %s", what, wrong)
		}
	}
	reach(".skip")
	reach("#lang")
	reach("input[type=search]")
	reach("input[value='20260104-000000-exp1-drop-at-link-down']")
	b.run(chromedp.KeyEvent(" "))
	reach("input[value='" + runA + "']")
	b.run(chromedp.KeyEvent(" "))
	reach(".act button:first-child")
	b.run(chromedp.KeyEvent(kb.Enter))
	b.until("the comparison", "!!document.getElementById('diff')")
	b.until("both ladders", "Array.from(document.images).length === 2 && Array.from(document.images).every(function (i) { return i.complete && i.naturalWidth > 100; })")
	b.quiet(s, "keyboard")
}

// browserWithoutScript catches a page that says less, or a form that does nothing, where scripts do not run.
func browserWithoutScript(b *browser, s *Server, _ *fake) {
	b.run(scripts(false))
	defer b.run(scripts(true))
	appendLines(b.t, s, "20320101-000000-live", script(b.t, "exp1-syn-loss")[:3]...)
	b.visit(s, "/runs/20320101-000000-live/")
	text := eval[string](b, "document.body.innerText")
	for _, want := range []string{"SYN again 1", "SYN-SENT", "LISTEN", "1.000 … "} {
		if !strings.Contains(text, want) {
			b.t.Errorf("a live run: got no %q in %s", want, text)
		}
	}
	b.visit(s, "/new/exp1-syn-loss")
	b.run(chromedp.Click("button.second"))
	b.until("a prediction", "!!document.getElementById('predicted')")
	b.visit(s, "/")
	b.run(chromedp.Click("#lang"))
	b.until("Chinese", "document.documentElement.lang === 'zh'")
	b.run(chromedp.Click("#lang"))
	b.until("English", "document.documentElement.lang === 'en'")
	b.quiet(s, "without script")
}

// browserControl is the control of quiet and of the policy: what the page must not do is tried in it, is refused, and is seen.
func browserControl(b *browser, s *Server, _ *fake) {
	for name, try := range map[string]string{
		"a request to another port": "fetch('http://127.0.0.1:1/').catch(function () {})",
		"a script in the page":      "(function () { var e = document.createElement('script'); e.textContent = 'window.hacked = 1'; document.body.appendChild(e); })()",
		"a picture from elsewhere":  "(function () { document.body.appendChild(new Image()).src = 'http://127.0.0.1:1/x.png'; })()",
		"a style in the page":       "(function () { var e = document.createElement('style'); e.textContent = 'body{color:red}'; document.body.appendChild(e); })()",
	} {
		b.run(chromedp.Navigate("about:blank")) // of one thing that is refused there may be more to say than the first message
		b.mu.Lock()
		b.said, b.asked = nil, nil
		b.mu.Unlock()
		b.visit(s, "/")
		b.quiet(s, "before")
		b.run(chromedp.Evaluate[chromedp.Void]("void(" + try + ")"))
		give := time.Now().Add(time.Minute)
		for said := 0; said == 0; {
			if eval[bool](b, "!!window.hacked") {
				b.t.Errorf("%s: it ran", name)
			}
			b.mu.Lock()
			said = len(b.said)
			b.said, b.asked = nil, nil // a request that the policy refuses is told of too
			b.mu.Unlock()
			if time.Now().After(give) {
				b.t.Errorf("%s: the browser said nothing", name)
				break
			}
		}
	}
}
