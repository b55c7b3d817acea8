package page

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/result"
)

// many are n runs of all experiments, in the order of their names and then again.
func many(t testing.TB, n int) []*result.Result {
	all := stored(t)
	names := slices.Sorted(maps.Keys(all))
	var runs []*result.Result
	for i := range n {
		runs = append(runs, all[names[i%len(names)]])
	}
	return runs
}

// TestManyRuns catches a page of many runs that grows too large to send to somebody, and links of its matrix that lead nowhere.
func TestManyRuns(t *testing.T) {
	page := html(t, Options{}, many(t, 20)...)
	t.Logf("20 runs: %d bytes", len(page))
	if len(page) >= 2e6 {
		t.Errorf("20 runs: got %d bytes, want less than 2 MB", len(page))
	}
	wantUnique(t, page)
	if got := strings.Count(page, `<details class="run"`); got != 20 {
		t.Errorf("got %d runs in the page, want 20", got)
	}
}

// TestBounded catches a page of 200 runs without end, one that leaves out what did not pass before what did, and a sentence that points at
// a packet that was left out.
func TestBounded(t *testing.T) {
	runs := many(t, 200)
	failed := *runs[150]
	failed.Verdict, failed.Reason = result.Fail, "packets: expected 3, observed 4"
	runs[150] = &failed
	page := html(t, Options{}, runs...)
	t.Logf("200 runs: %d bytes", len(page))
	if len(page) > mostBytes*3/2 {
		t.Errorf("200 runs: got %d bytes, want about %d at most", len(page), mostBytes)
	}
	wantUnique(t, page)
	for id, want := range map[string]bool{"run1": true, "run151": true, "run200": false} {
		if got := strings.Contains(page, `id="`+id+`-ladder"`); got != want {
			t.Errorf("the ladder of %s: got %v, want %v", id, got, want)
		}
	}
	if got := strings.Count(page, `<p class="short">`); got == 0 || got == 200 {
		t.Errorf("got %d runs in short, want some", got)
	}
	if small := html(t, Options{Most: 1}, runs[:20]...); strings.Count(small, `<p class="short">`) != 19 {
		t.Errorf("with room for one: got %d runs in short, want 19", strings.Count(small, `<p class="short">`))
	}
	if one := html(t, Options{Most: 1}, runs[0]); strings.Contains(one, `<p class="short">`) {
		t.Error("a run alone was shortened")
	}
}

// TestMatrix catches runs in the wrong cell, columns or lines out of order, and a failure that is folded away among passes.
func TestMatrix(t *testing.T) {
	run := func(name, flag, kernel string, v result.Verdict) *result.Result {
		r := &result.Result{Experiment: result.Experiment{Name: name}, Profile: "fast", Kernel: result.Kernel{Version: kernel}, Verdict: v, Checks: []result.Check{{Verdict: v}}}
		if flag != "" {
			r.Params = []result.Param{{Name: flag, Value: "1", From: "flag"}}
		}
		if v != result.Pass {
			r.Reason = "why"
		}
		return r
	}
	runs := []*result.Result{run("exp10", "", "6.12", result.Pass), run("exp2", "", "6.12", result.Fail), run("exp2", "", "6.1", result.Pass), run("exp2", "x", "6.1", result.Unable)}
	for range 5 {
		runs = append(runs, run("exp10", "", "6.12", result.Pass))
	}
	runs = append(runs, run("exp10", "", "6.12", result.Inconclusive))
	m := newComposer(Options{}).matrix(runs)
	var got []string
	for _, l := range m.Lines {
		for i, c := range l.Cells {
			s := fmt.Sprintf("%s%s %s:", l.Name, l.Flags, m.Kernels[i].Name)
			for _, k := range c.Chips {
				s += " " + k.Href + " " + k.Word.Text
			}
			got = append(got, fmt.Sprintf("%s +%d", s, len(c.Passes)))
		}
	}
	want := []string{"exp2 Linux 6.1: #run3 PASS +0", "exp2 Linux 6.12: #run2 FAIL +0", "exp2--x=1 Linux 6.1: #run4 UNABLE +0", "exp2--x=1 Linux 6.12: +0", "exp10 Linux 6.1: +0",
		"exp10 Linux 6.12: #run10 INCONCLUSIVE +6"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if len(m.Wrong) != 3 || m.Wrong[0].Href != "#run2" || m.Wrong[0].Reason.Text != "why" {
		t.Errorf("what did not pass: got %+v, want the runs 2, 4 and 10 with their reasons", m.Wrong)
	}
}

// TestOnce catches a table that each run repeats, or one that is left out though it is another.
func TestOnce(t *testing.T) {
	a, b := stored(t)["exp1-syn-loss"], stored(t)["exp1-syn-loss"]
	c := newComposer(Options{})
	same := func(r *result.Result, n int) (all, links int) {
		for _, e := range c.run(r, n, true, false).Evidence {
			if e.shared {
				all++
			}
			if e.Same != nil {
				links++
			}
		}
		return all, links
	}
	if all, links := same(a, 1); all == 0 || links != 0 {
		t.Errorf("the first run: got %d tables of the kind and %d links, want some and none", all, links)
	}
	if all, links := same(b, 2); all != links {
		t.Errorf("the same again: got %d links, want %d", links, all)
	}
	for i := range b.Sysctls {
		if !b.Sysctls[i].Matters {
			b.Sysctls[i].Now = "another"
			break
		}
	}
	if all, links := same(b, 3); links != all-1 {
		t.Errorf("another baseline: got %d links, want %d", links, all-1)
	}
}

// TestNatural catches exp10 before exp2.
func TestNatural(t *testing.T) {
	names := []string{"exp10", "Linux 6.12", "exp2-b", "Linux 6.1.1", "exp2", "Linux 6.1", "exp02a"}
	slices.SortFunc(names, natural)
	if got, want := strings.Join(names, " "), "Linux 6.1 Linux 6.1.1 Linux 6.12 exp2 exp2-b exp02a exp10"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestPictures catches several ladders in one picture that is not XML, or whose names clash.
func TestPictures(t *testing.T) {
	var b bytes.Buffer
	if err := SVG(&b, Options{}, many(t, 5)...); err != nil {
		t.Fatal(err)
	}
	wantUnique(t, b.String())
	for d := xml.NewDecoder(bytes.NewReader(b.Bytes())); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(b.String(), `class="ladder"`); got != 5 {
		t.Errorf("got %d ladders, want 5", got)
	}
}

// BenchmarkHTML is the time to draw pages of 1, 20 and 200 runs.
func BenchmarkHTML(b *testing.B) {
	all := stored(b)
	names := slices.Sorted(maps.Keys(all))
	for _, n := range []int{1, 20, 200} {
		var runs []*result.Result
		for i := range n {
			runs = append(runs, all[names[i%len(names)]])
		}
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			size := 0
			for b.Loop() {
				size = len(html(b, Options{}, runs...))
			}
			b.ReportMetric(float64(size), "bytes")
		})
	}
}
