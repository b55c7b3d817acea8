package page

import (
	"bytes"
	"compress/gzip"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
)

// stored reads the results in testdata: real runs of every experiment in the fast profile on Linux 6.18, and longer ones in
// virtual time on Debian's 6.12.
func stored(t testing.TB) map[string]*result.Result {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json.gz")
	if err != nil || len(files) < 8 {
		t.Fatalf("testdata: got %d results, %v, want at least one of each experiment", len(files), err)
	}
	all := map[string]*result.Result{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		r, err := result.Read(z)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".json.gz")] = r
	}
	return all
}

func html(t testing.TB, o Options, runs ...*result.Result) string {
	t.Helper()
	var b strings.Builder
	if err := HTML(&b, o, runs...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// forbidden are the ways in which a page could ask for something or run something that the policy does not name.
var forbidden = regexp.MustCompile(`(?i) style="| on[a-z]+="|<link|<img|<iframe|<object|<base|javascript:|url\(|@import|@font-face|ZgotmplZ|(src|href)="[^#"]`)

// TestPage catches a page that the browser's policy would break, that asks for something, or whose names clash, for each stored run.
func TestPage(t *testing.T) {
	for name, r := range stored(t) {
		page := html(t, Options{}, r)
		if found := forbidden.FindString(page); found != "" {
			t.Errorf("%s: got %q in the page, want nothing that needs more than the policy allows", name, found)
		}
		wantPolicy(t, page)
		wantUnique(t, page)
		for _, want := range []string{r.Experiment.Name, "<svg", "Expected against observed", "What happened"} {
			if !strings.Contains(page, want) {
				t.Errorf("%s: got no %q in the page", name, want)
			}
		}
		if again := html(t, Options{}, r); again != page {
			t.Errorf("%s: the same result made another page the second time", name)
		}
	}
}

// wantPolicy compares the hashes of the policy with what the page carries: a template that changed a byte of the style would lose it.
func wantPolicy(t *testing.T, page string) {
	t.Helper()
	for tag, directive := range map[string]string{"style": "style-src", "script": "script-src"} {
		_, rest, _ := strings.Cut(page, "<"+tag+">")
		body, _, _ := strings.Cut(rest, "</"+tag+">")
		want := directive + " " + strings.NewReplacer("'", "&#39;", "+", "&#43;").Replace(hash(body))
		if !strings.Contains(page, want) {
			t.Errorf("policy: got none with %s, the hash of the page's own %s", want, tag)
		}
	}
	if !strings.Contains(page, "default-src &#39;none&#39;") {
		t.Error("policy: got none that forbids everything else")
	}
}

func wantUnique(t *testing.T, page string) {
	t.Helper()
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if seen[m[1]] {
			t.Errorf("id %q: got it twice, want it once", m[1])
		}
		seen[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`href="#([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if !seen[m[1]] {
			t.Errorf("link to %q: there is nothing of that name", m[1])
		}
	}
}

// TestSVG catches a ladder.svg that is not XML: a picture by itself is read more strictly than one in a page.
func TestSVG(t *testing.T) {
	for name, r := range stored(t) {
		hostile(r)
		var b bytes.Buffer
		if err := SVG(&b, Options{}, r); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(bytes.TrimSpace(b.Bytes()), []byte("<svg ")) { // html/template turns <?xml into text, which no viewer forgives
			t.Errorf("%s: it begins with %.40q, want <svg", name, b.Bytes())
		}
		d := xml.NewDecoder(&b)
		d.Strict = true
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

const attack = "</title></script><script>document.title='hacked'</script><img src=x onerror=alert(1)>\"'&\u202e\x00\x1b[2J"

// hostile puts an attack into every kind of string that a stored result can carry.
func hostile(r *result.Result) {
	for _, s := range []*string{&r.Experiment.Name, &r.Experiment.Summary, &r.Experiment.Question, &r.Kernel.Release, &r.Profile, &r.Reason} {
		*s += attack
	}
	r.Command = append(r.Command, attack)
	r.Reproduce = append(r.Reproduce, attack)
	for i := range r.Hosts {
		was := r.Hosts[i].Name
		r.Hosts[i].Name = was + attack
		for j := range r.Packets {
			if r.Packets[j].From == was {
				r.Packets[j].From += attack
			}
		}
	}
	for i := range r.Checks {
		r.Checks[i].Name, r.Checks[i].Observed, r.Checks[i].Detail = attack, attack, attack
	}
	for i := range r.Packets {
		r.Packets[i].What, r.Packets[i].Where, r.Packets[i].Flags = r.Packets[i].What+attack, attack, attack
	}
	for i := range r.States {
		r.States[i].State += attack
	}
	for i := range r.Story {
		r.Story[i].Text += attack
	}
	r.Hypothesis = &result.Hypothesis{Text: attack, Code: attack, Command: attack}
	r.Verdict = result.Fail
}

// TestHostile catches a string of a result that becomes markup.
func TestHostile(t *testing.T) {
	for name, r := range stored(t) {
		hostile(r)
		page := html(t, Options{}, r, r)
		for _, bad := range []string{"<script>document", "<img", "\x1b", "\x00", "\u202e"} {
			if strings.Contains(page, bad) {
				t.Errorf("%s: got %q in the page, want it escaped", name, bad)
			}
		}
		wantPolicy(t, page)
		wantUnique(t, page)
	}
}

// TestScales catches a ladder that runs backwards: on each scale a later line is never higher, and every line is inside the picture.
func TestScales(t *testing.T) {
	for name, r := range stored(t) {
		v := newComposer(Options{}).ladder(r, "x")
		for i, row := range v.Rows {
			for s := range scales {
				if i > 0 && row.Y[s] < v.Rows[i-1].Y[s] {
					t.Errorf("%s: scale %d: line %d is at %v, above the one before, at %v", name, s, i+1, row.Y[s], v.Rows[i-1].Y[s])
				}
				if end := row.Y[s] + row.D[s]; row.Y[s] < 0 || s != linear && end > v.Height[s] {
					t.Errorf("%s: scale %d: line %d ends at %v, outside of %v", name, s, i+1, end, v.Height[s])
				}
			}
		}
	}
}

// TestAxis checks the compressed scale against its formula, and that the linear one is linear.
func TestAxis(t *testing.T) {
	a := newAxis([]time.Duration{0, time.Second, 4 * time.Second})
	if got, want := a.y[1][compressed]-a.y[0][compressed], 34.0+26; got != want {
		t.Errorf("a gap of 1 s: got %v, want %v", got, want)
	}
	if got, want := a.y[2][compressed]-a.y[1][compressed], 34.0+52; got != want {
		t.Errorf("a gap of 3 s: got %v, want %v", got, want)
	}
	if got, want := (a.y[2][linear]-a.y[1][linear])/(a.y[1][linear]-a.y[0][linear]), 3.0; got != want {
		t.Errorf("3 s against 1 s on the linear scale: got %v times, want %v", got, want)
	}
}

// TestEmpty catches a result with nothing in it that makes the page fall.
func TestEmpty(t *testing.T) {
	for _, r := range []*result.Result{{}, {Verdict: result.Unable, Reason: "no iptables"}, {Verdict: result.Error, States: []result.State{{Host: "client"}}, Samples: []result.Sample{{Host: "client", RTO: 1}}}} {
		wantUnique(t, html(t, Options{}, r))
		wantUnique(t, html(t, Options{Lang: Chinese}, r, r))
	}
}

// TestBrackets catches a bracket that names another timer, that counts from a bare acknowledgement, or that is drawn where connections
// overlap. The waits are those of the stored run.
func TestBrackets(t *testing.T) {
	all := stored(t)
	for _, tt := range []struct {
		name string
		want []string
	}{
		{"exp3-ack-loss", []string{"RTO 1.018 s", "PTO 0.210 s", "RTO 0.208 s", "RTO 0.428 s", "RTO 0.832 s", "RTO 1.664 s", "RTO 3.520 s"}},
		{"exp4-peer-alive", []string{"keepalive 1.006 s", "keepalive 1.024 s", "keepalive 1.024 s"}},
		{"exp6-fast-retransmit", nil}, // no timer fired
		{"exp2-capture-point", nil},   // ten connections side by side
	} {
		var got []string
		for _, b := range newComposer(Options{}).ladder(all[tt.name], "x").Brackets {
			got = append(got, b.Kind.Text+" "+b.Label.Text)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestRungs catches a picture that shows another ladder than the text does: every packet and every event has its line.
func TestRungs(t *testing.T) {
	for name, r := range stored(t) {
		rungs, _, _ := report.Rungs(r)
		packets, events := map[int]bool{}, 0
		for _, g := range rungs {
			if g.Packet != nil {
				packets[g.Packet.ID] = true
			}
			if g.Event != nil {
				events++
			}
		}
		want := len(r.Events)
		if r.Outcome != nil {
			want++
		}
		if len(packets) != len(r.Packets) || events != want {
			t.Errorf("%s: got lines for %d packets and %d events, want %d and %d", name, len(packets), events, len(r.Packets), want)
		}
	}
}

// TestSamplesSideBySide catches the samples of one connection that push out those of another, a line without its port, and a state's lane that
// mixes connections.
func TestSamplesSideBySide(t *testing.T) {
	r := &result.Result{Packets: []result.Packet{{ID: 1}}}
	for i := range 3 * mostRows {
		r.Samples = append(r.Samples, result.Sample{At: result.Seconds(i), Host: "client", Port: 8080, State: "SYN-SENT", RTO: 1e9, Retrans: i})
	}
	r.Samples = append(r.Samples, result.Sample{Host: "server", Port: 8081, State: "SYN-RECV"})
	c := newComposer(Options{})
	e := c.samples(r)
	if len(e.Heads) != len(e.Rows[0]) || e.Heads[1].Text != "port" {
		t.Errorf("got %d heads for %d cells, the second is %q, want one each and port", len(e.Heads), len(e.Rows[0]), e.Heads[1].Text)
	}
	if last := e.Rows[len(e.Rows)-1]; len(e.Rows) != mostRows/2+1 || last[1].Text != "8081" || e.Remark.Text == "" {
		t.Errorf("got %d rows, the last of port %s, and %q; want %d, 8081, and that there are more", len(e.Rows), last[1].Text, e.Remark.Text, mostRows/2+1)
	}
	if v := (&statesView{}); c.rtoLane(v, r, "client", 5, func(time.Duration) float64 { return 0 }) != 5 {
		t.Error("the RTOs of several connections are one lane")
	}
	r.Samples = []result.Sample{{Host: "client", State: "SYN-SENT"}}
	if e := c.samples(r); len(e.Heads) != len(e.Rows[0]) || e.Heads[1].Text != "host" {
		t.Errorf("one connection: got %d heads for %d cells, the second is %q, want no port", len(e.Heads), len(e.Rows[0]), e.Heads[1].Text)
	}
}

// TestPrune catches a column that stays though nothing stands in it, one that goes though something does, and heads that are not those of
// their cells any more.
func TestPrune(t *testing.T) {
	c := newComposer(Options{})
	e := evidence{Heads: c.heads("packet", "the kernel's reason", "from", "sent again by"), Rows: [][]text{c.cells("#1", "", "client", ""), c.cells("", "", "server", "")}}
	e.prune()
	var got []string
	for _, row := range append([][]text{e.Heads}, e.Rows...) {
		for _, cell := range row {
			got = append(got, cell.Text)
		}
	}
	if want := []string{"packet", "from", "#1", "client", "", "server"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestCases catches a page without the table that answers its question, and a row whose observation is another's.
func TestCases(t *testing.T) {
	r := stored(t)["exp11-timeouts"]
	v := newComposer(Options{}).run(r, 1, false, false)
	if len(v.Cases) != len(r.Prediction.Cases) || len(v.Cases) < 10 {
		t.Fatalf("got %d rows, want %d", len(v.Cases), len(r.Prediction.Cases))
	}
	for i, row := range v.Cases {
		at := slices.IndexFunc(r.Checks, func(k result.Check) bool { return k.Name == row.Name.Text })
		if at < 0 || row.Observed.Text != r.Checks[at].Observed || row.Expected.Text != r.Checks[at].Expected || row.Verdict != r.Checks[at].Verdict {
			t.Errorf("row %d: got %+v, want what the check of that name says", i+1, row)
		}
	}
	r.Checks = nil // of a run that was broken off
	if v := newComposer(Options{}).run(r, 1, false, false); v.Cases[0].Observed.Text != "" || v.Cases[0].Expected.Text == "" {
		t.Errorf("no checks: got %+v, want what was predicted", v.Cases[0])
	}
}

// TestReasonOnce catches a page of an inconclusive run that gives the reason of the whole run beside each of its checks, in either language. The
// control is a run in which each check has a reason of its own.
func TestReasonOnce(t *testing.T) {
	const en, zh = "the machine stood still for 0.4 s in this run, which proves nothing", "本机在这次运行中停顿了 0.4 s，什么也证明不了"
	for _, shared := range []bool{true, false} {
		r := stored(t)["exp6-lose-15-19"]
		for i := range r.Checks {
			why := []string{"it never came; ", "nobody predicted this packet; "}[i%2] + en
			if !shared {
				why += fmt.Sprint(" of ", i)
			}
			r.Checks[i].Verdict, r.Checks[i].Code, r.Checks[i].Detail = result.Inconclusive, explain.Stall, why
		}
		r.Judge()
		r.Reason = fmt.Sprintf("%s: expected %s, observed %s (%s)", r.Checks[0].Name, r.Checks[0].Expected, r.Checks[0].Observed, r.Checks[0].Detail)
		want := 1
		if !shared {
			want = len(r.Checks) + 1 // and in the reason of the whole, which is that of the first
		}
		for _, o := range []struct {
			lang Lang
			why  string
		}{{English, en}, {Chinese, zh}} {
			_, body, _ := strings.Cut(html(t, Options{Lang: o.lang}, r), "<main")
			head, _, _ := strings.Cut(body, `<section class="packets">`)
			head = regexp.MustCompile(` data-t="[^"]*"`).ReplaceAllString(head, "") // the other language
			if got := strings.Count(head, o.why); got != want && (shared || o.lang == English) {
				t.Errorf("%s, shared %t: got the reason %d times, want %d", o.lang, shared, got, want)
			}
		}
	}
}
